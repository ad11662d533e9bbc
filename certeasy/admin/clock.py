"""Instructions about the node's clock: to go on although the log is ahead of it."""

from typing import ClassVar

import msgspec

from certeasy.admin.desk import Desk
from certeasy.admin.instructions import Instruction
from certeasy.decide.decision import Decision
from events.envelope import timestamp
from events.nodes import ClockSetBack


class Accepted(msgspec.Struct, frozen=True):
    """The log's latest time and the clock's; `needed` is false where the clock is not behind."""

    latest: str
    here: str
    needed: bool


class AcceptClock(Instruction[Accepted], frozen=True, tag="clock-accept"):
    """Let the log's time stand until the clock has passed it."""

    result: ClassVar = Accepted

    def carry_out(self, desk: Desk) -> Accepted:
        """Record it, as the first thing that the committer takes since."""
        office = desk.office
        latest, here = office.store.head().at, timestamp(office.clock.now())
        if latest <= here:
            return Accepted(latest, here, needed=False)
        office.committer().accept_clock(latest)
        fact = (f"node/{office.server_id}", ClockSetBack(latest, here))
        desk.commit(lambda _rows, _now: Decision((fact,)))
        return Accepted(latest, here, needed=True)
