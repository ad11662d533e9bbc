"""Everything that a CA is asked beside enrolment, each within its deadline, whatever happens.

One thing at a time is asked of a CA: revocations are few, and a CA that hangs holds up one thread.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from certeasy.ca.adcs import csra, wcce
from certeasy.ca.adcs.dcom import Objects
from certeasy.ca.adcs.deadline import Bounded, Deadline, Late
from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.ca.adcs.identity import Identity
from certeasy.ca.adcs.transport import Target

T = TypeVar("T")


class Officers:
    """One CA, as one identity. Good for any number of threads.

    Everything raises NotReached, NotAuthenticated, or HResult; what changes something, AnswerLost
    too.
    """

    def __init__(self, target: Target, identity: Identity, ca_name: str) -> None:
        self._target = target
        self._ca = ca_name
        self._objects = Objects(target, identity)
        self._bounded = Bounded()
        self._one_at_a_time = threading.Lock()
        self._closed = False

    def revoke(self, serial: str, reason: int, deadline: Deadline) -> None:
        """Revoke a certificate as of now; one that is revoked already is no error.

        `serial` is lower-case hex. Reasons that a CA does not know (9, 10) become unspecified.
        """
        self._change(
            deadline, lambda: csra.revoke(self._objects, self._ca, serial, reason, deadline)
        )

    def publish_crl(self, deadline: Deadline) -> None:
        """Have the CA publish its revocation list."""
        self._change(deadline, lambda: csra.publish_crl(self._objects, self._ca, deadline))

    def ca_certificates(self, deadline: Deadline) -> tuple[bytes, ...]:
        """Return the CA's certificates (DER), of all its keys, and those above the newest."""
        return self._ask(deadline, lambda: wcce.certificates(self._objects, self._ca, deadline))

    def templates(self, deadline: Deadline) -> tuple[wcce.Template, ...]:
        """Return the templates that the CA offers."""
        return self._ask(deadline, lambda: wcce.templates(self._objects, self._ca, deadline))

    def ping(self, deadline: Deadline) -> None:
        """See whether the machine has this CA, and whether it takes requests."""
        self._ask(deadline, lambda: wcce.ping(self._objects, self._ca, deadline))

    def edit_flags(self, deadline: Deadline) -> int | str | None:
        """Return what the CA's policy module may take from a request (EditFlags)."""
        return self.config_entry(csra.POLICY_MODULE, "EditFlags", deadline)

    def interface_flags(self, deadline: Deadline) -> int | str | None:
        """Return which of its interfaces the CA serves, and how protected (InterfaceFlags)."""
        return self.config_entry("", "InterfaceFlags", deadline)

    def config_entry(self, node: str, entry: str, deadline: Deadline) -> int | str | None:
        """Return a value of the CA's configuration; None: it has none, or of a kind unknown."""
        return self._ask(
            deadline, lambda: csra.config_entry(self._objects, self._ca, node, entry, deadline)
        )

    def security(self, deadline: Deadline) -> bytes:
        """Return who may do what at the CA: a security descriptor."""
        return self._ask(deadline, lambda: csra.security(self._objects, self._ca, deadline))

    def close(self) -> None:
        """Ask nothing any more. There is nothing to give back: no connection is kept."""
        self._closed = True

    def _ask(self, deadline: Deadline, work: Callable[[], T]) -> T:
        try:
            return self._within(deadline, work)
        except Late as late:
            raise NotReached("dcom", f"{self._target.host}: {late}") from None

    def _change(self, deadline: Deadline, work: Callable[[], T]) -> T:
        begun = threading.Event()

        def noted() -> T:
            begun.set()
            return work()

        try:
            return self._within(deadline, noted)
        except Late as late:
            happened = AnswerLost if begun.is_set() else NotReached
            raise happened("dcom", f"{self._target.host}: {late}") from None

    def _within(self, deadline: Deadline, work: Callable[[], T]) -> T:
        if self._closed:
            raise NotReached("dcom", "this server is shutting down")
        if not self._one_at_a_time.acquire(timeout=deadline.remaining()):
            raise NotReached("dcom", f"{self._target.host}: earlier calls take too long")
        try:
            return self._bounded.run(deadline, work)
        finally:
            self._one_at_a_time.release()
