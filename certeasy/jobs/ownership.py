"""Whose a certificate is that came to light: before one is revoked that nobody seems to have, it
must be sure that it is not another order's, handed out already or about to be."""

import hashlib
from collections.abc import Callable

from certeasy.commit import Committer
from certeasy.decide import csr
from events.orders import Identifier
from projections.jobs import ISSUE, Job
from projections.orders import ORDERS


class Ownership:
    """What the log knows of certificates and of orders that wait for one. `jobs` lists all work."""

    def __init__(self, committer: Committer, jobs: Callable[[], list[Job]]) -> None:
        self._committer = committer
        self._jobs = jobs

    def is_given(self, certificate: bytes) -> bool:
        """Whether somebody was given this certificate (DER)."""
        sha256 = hashlib.sha256(certificate).hexdigest()
        return self._committer.certificate_with_sha256(sha256) is not None

    def awaited_by(
        self, key: bytes, *, beside: str, names: frozenset[Identifier] | None = None
    ) -> str | None:
        """Return another order than `beside` that waits for a certificate for this key
        (SubjectPublicKeyInfo), and for these names unless they are None; or None."""
        for job in self._jobs():
            if job.kind != ISSUE or job.order_id == beside:
                continue
            order = self._committer.get(ORDERS, job.order_id)
            if order is None or (names is not None and frozenset(order.identifiers) != names):
                continue
            if order.csr and csr.spki_of(order.csr) == key:
                return order.id
        return None
