"""Instructions about renewals: to ask for certificates to be renewed ahead of their time."""

import re
from datetime import datetime
from typing import ClassVar

import msgspec

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.decide import renewal
from events.certificates import RenewalRequested
from projections.certificates import CERTIFICATES

MOST = 2000
"""Certificates in one instruction: few enough that no client waits long for its own commit."""
IN_A_LINE = 1000
"""Certificates in one event, whose line is bounded."""
_ID = re.compile("[0-9a-v]{26}")


class Requested(msgspec.Struct, frozen=True):
    """So many certificates were asked to be renewed."""

    certificates: int


class RequestRenewal(Instruction[Requested], frozen=True, tag="renewal-request"):
    """Ask for certificates, by their ids, to be renewed from `start` to `end` (RFC 3339); what they
    were looked for by is recorded with them."""

    result: ClassVar = Requested
    patience: ClassVar = 600.0

    campaign: str
    certificates: tuple[str, ...]
    start: str
    end: str
    authority: str = ""
    before: str = ""

    def carry_out(self, desk: Desk) -> Requested:
        """Record it, all or nothing."""
        self._check(desk)
        facts = [self._fact(first) for first in range(0, len(self.certificates), IN_A_LINE)]
        desk.commit(lambda _rows, _now: renewal.request(facts))
        return Requested(len(self.certificates))

    def _fact(self, first: int) -> RenewalRequested:
        some = self.certificates[first : first + IN_A_LINE]
        return RenewalRequested(
            self.campaign, some, self.start, self.end, self.authority, self.before
        )

    def _check(self, desk: Desk) -> None:
        """Raise InstructionRefused for what the log could not explain later."""
        if not _ID.fullmatch(self.campaign) or len(self.certificates) > MOST:
            raise InstructionRefused(
                f"a campaign has an id, and at most {MOST} certificates a time"
            )
        try:
            start, end = (datetime.fromisoformat(text) for text in (self.start, self.end))
        except ValueError as error:
            raise InstructionRefused(f"the window is none: {error}") from None
        if not (start.tzinfo and end.tzinfo and start < end):
            raise InstructionRefused("the window must have a beginning and, after it, an end")
        for certificate_id in self.certificates:
            if desk.office.store.get(CERTIFICATES, certificate_id) is None:
                raise InstructionRefused(f"there is no certificate {certificate_id!r}")
