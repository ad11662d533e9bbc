"""Instructions about nodes: to vouch for one, beforehand or afterwards; to retire one."""

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from certeasy.admin.desk import Desk
from certeasy.admin.instructions import Instruction
from certeasy.decide import nodes
from certeasy.decide.decision import Decision, Reader
from events.envelope import timestamp
from events.nodes import NodeInvited, NodeRetired
from projections.nodes import NODES


class Endorsed(msgspec.Struct, frozen=True):
    """`anew`: it was endorsed now, and not before."""

    anew: bool


class EndorseNode(Instruction[Endorsed], frozen=True, tag="node-endorse"):
    """Vouch for another node with this key."""

    result: ClassVar = Endorsed

    server_id: str
    kid: str

    def carry_out(self, desk: Desk) -> Endorsed:
        """Record it, unless it was."""

        def decide(rows: Reader, _now: datetime) -> Decision:
            by = desk.office.server_id
            return nodes.endorse(rows, by=by, server_id=self.server_id, kid=self.kid)

        return Endorsed(anew=desk.commit(decide) is not None)


class Invited(msgspec.Struct, frozen=True):
    """Until when the invitation is good: RFC 3339, UTC."""

    expires: str


class InviteNode(Instruction[Invited], frozen=True, tag="node-invite"):
    """Vouch beforehand for the node that will have the invitation's key, which is `x`."""

    result: ClassVar = Invited

    kid: str
    x: str
    valid: timedelta

    def carry_out(self, desk: Desk) -> Invited:
        """Record it."""
        office = desk.office
        fact = NodeInvited(self.kid, self.x, timestamp(office.clock.now() + self.valid))
        desk.commit(lambda rows, _now: nodes.invite(rows, by=office.server_id, fact=fact))
        return Invited(fact.expires)


class Retired(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last seq of a node that is retired, when (`at`) and by which node (`by`).

    `anew`: it is since now; where that was only asked for, it is not yet."""

    last_seq: int
    at: str = ""
    by: str = ""
    anew: bool = False


class RetireNode(Instruction[Retired], frozen=True, tag="node-retire"):
    """Tell that another node is gone for good; `only_ask`: whether that could be told."""

    result: ClassVar = Retired

    server_id: str
    only_ask: bool = False

    def carry_out(self, desk: Desk) -> Retired:
        """Record it, unless it was."""
        office = desk.office
        gone = office.store.server(self.server_id)
        fact = NodeRetired(self.server_id, gone.seq if gone else 0, gone.hash if gone else "")

        def decide(rows: Reader, _now: datetime) -> Decision:
            return nodes.retire(rows, by=office.server_id, fact=fact)

        if self.only_ask:
            anew = bool(decide(office.store, office.clock.now()).facts)
        else:
            anew = desk.commit(decide) is not None
        row = office.store.get(NODES, self.server_id)
        at, by = (row.retired, row.retired_by) if row else ("", "")
        return Retired(fact.last_seq, at, by, anew)
