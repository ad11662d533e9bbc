"""Instructions about what there is: to revoke a certificate, and to close an account."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.decide import accounts, revocation
from projections.certificates import CERTIFICATES

_Word = Annotated[str, Meta(max_length=300)]


class CertificateRevoked(msgspec.Struct, frozen=True):
    """`anew`: it was revoked now, and not before. `told`: its authority is to revoke it, too."""

    anew: bool
    told: bool


class RevokeCertificate(Instruction[CertificateRevoked], frozen=True, tag="certificate-revoke"):
    """Revoke a certificate, by its id and the SHA-256 that it was found with, as its account can.

    `reason` is RFC 5280's number (section 5.3.1).
    """

    result: ClassVar = CertificateRevoked

    certificate: _Word
    sha256: _Word
    reason: int = 0

    def carry_out(self, desk: Desk) -> CertificateRevoked:
        """Record it, unless it was; where its authority is told, a job does that."""
        found = desk.office.store.get(CERTIFICATES, self.certificate)
        if found is None:
            raise InstructionRefused(f"there is no certificate {self.certificate!r}")
        told = desk.office.told(found.authority)
        committed = desk.commit(
            lambda rows, _now: revocation.by_administrator(
                rows,
                certificate_id=self.certificate,
                sha256=self.sha256,
                reason=self.reason,
                publish=told,
            )
        )
        return CertificateRevoked(anew=committed is not None, told=told)


class AccountClosed(msgspec.Struct, frozen=True):
    """`anew`: the account was closed now, and not before."""

    anew: bool


class CloseAccount(Instruction[AccountClosed], frozen=True, tag="account-close"):
    """Close an account for good (RFC 8555 section 7.1.2: `revoked`)."""

    result: ClassVar = AccountClosed

    account: _Word

    def carry_out(self, desk: Desk) -> AccountClosed:
        """Record it, unless it is closed."""
        committed = desk.commit(lambda rows, _now: accounts.revoke(rows, account_id=self.account))
        return AccountClosed(anew=committed is not None)
