"""What an instruction is carried out with: the same in a running server and in a command that found
none running.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from certeasy.clock import Clock
from certeasy.cluster.secrets import Secrets
from certeasy.commit import Command, Committed, Committer
from certeasy.commit.command import Decide
from certeasy.commit.subjects import Subjects
from certeasy.ids import Ids
from certeasy.limits.clients import Limits
from certeasy.settings import Settings
from certeasy.store import Store
from events.envelope import Actor
from journal.file import Journal


class InstructionRefused(Exception):
    """An instruction that is not carried out; one line says why, and what to do."""


@dataclass(frozen=True)
class Office:
    """The parts of a node that instructions are carried out with.

    `committer` is asked for when there is something to commit and not before: a node that does not
    run takes the writer's place then.
    """

    settings: Settings
    clock: Clock
    ids: Ids
    store: Store
    journal: Journal
    secrets: Secrets
    subjects: Subjects
    server_id: str
    committer: Callable[[], Committer]
    told: Callable[[str], bool]
    """Whether an authority is told what is revoked."""
    limits: Limits | None = None
    """What is counted of clients; None: no server runs, and nothing is."""

    def now(self) -> datetime:
        """Return the time: the clock's, and never before the log's latest."""
        here, latest = self.clock.now(), self.store.head().at
        return max(here, datetime.fromisoformat(latest)) if latest else here


@dataclass(frozen=True)
class Desk:
    """An office, and the administrator who stands before it.

    `actor_key` is what seals the administrator's name; the first change that is made stores it.
    """

    office: Office
    actor: Actor
    actor_key: tuple[tuple[str, bytes], ...] = field(repr=False)

    def commit(
        self,
        decide: Decide,
        *,
        secrets: tuple[tuple[str, bytes], ...] = (),
        dropped: tuple[str, ...] = (),
    ) -> Committed | None:
        """Have something recorded, in the administrator's name; None: there was nothing to record.

        In the same moment wrapped `secrets` are kept, and those `dropped` are destroyed. Raises
        what `decide` raises, and what `Committer.submit` does.
        """
        office = self.office
        if not decide(office.store, office.now()).facts:
            return None
        command = Command(
            decide, self.actor, subject_keys=self.actor_key, secrets=secrets, dropped=dropped
        )
        committed = office.committer().submit(command)
        return committed if committed.records else None
