"""Instructions about nodes: to vouch for one, beforehand or afterwards."""

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from certeasy.admin.desk import Desk
from certeasy.admin.instructions import Instruction
from certeasy.decide import nodes
from certeasy.decide.decision import Decision, Reader
from events.envelope import timestamp
from events.nodes import NodeInvited


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
