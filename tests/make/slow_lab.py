"""A lab whose authority seems to be at the other end of a network, so that issuing takes a while.

The server is real; only its ACME side believes that the authority is not in this process, and so
leaves the work to the workers, who do it when the test says `lab.server.workers.look_around()`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import falcon.testing
import msgspec

from certeasy.acme.app import Site, build
from certeasy.acme.nonces import MemoryRedeemedNonces, Nonces
from certeasy.commit.subjects import Subjects
from certeasy.decide.policy import Policies
from certeasy.ids import RandomIds
from certeasy.licensing.seats import Seats
from projections.jobs import ISSUE
from tests.make.lab import Lab, a_lab


class FarAway(msgspec.Struct, frozen=True):
    name: str
    in_process: bool = False
    copies_request: bool = False


@contextmanager
def a_lab_with_a_slow_authority(folder: Path, **server: Any) -> Iterator[Lab]:
    with a_lab(folder, **server) as lab:
        node = lab.server
        ids = RandomIds(node.clock)
        site = Site(
            settings=node.settings,
            clock=node.clock,
            ids=ids,
            committer=node.committer,
            nonces=Nonces(bytes(32), MemoryRedeemedNonces(node.clock), node.clock, ids.random),
            subjects=Subjects(node.node.store, ids),
            policies=Policies(
                node.settings.issuance_policies,
                node.settings.policy_bindings,
                [FarAway(name) for name in node.authorities],
            ),
            available=lambda _name: True,
            refused=node.refusals.note,
            issue_now=lambda _order: None,
            mac_key=node._mac_key,
            limits=node.limits,
            told=node._is_told,
            seats=Seats(node.committer, lambda: node.license.terms),
        )
        lab.wire = falcon.testing.TestClient(build(site))
        # The workers know better: they are to leave these jobs until they look around.
        node.workers._elsewhere = lambda _committed, job: job.kind == ISSUE
        yield lab
