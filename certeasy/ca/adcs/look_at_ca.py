"""Looking at the CA itself: whether it answers, what it lets us do, how it is set."""

from collections.abc import Iterator

from certeasy.ca.adcs import descriptors
from certeasy.ca.adcs.descriptors import CA_ENROLL, CA_OFFICER, Malformed, granted
from certeasy.ca.adcs.errors import hexadecimal
from certeasy.ca.adcs.findings import Finding, shown
from certeasy.ca.adcs.world import Known, Seen, Subject, Unread, World, cause

INVALID_ARGUMENT = 0x8007_0057
ENROLL_DENIED = 0x8009_4011
ACCESS_DENIED = 0x8007_0005
SUBJECT_ALT_NAME_2 = 0x0004_0000  # EditFlags
NO_REMOTE_REQUESTS, NO_RPC_REQUESTS, PRIVATE_REQUESTS = 0x2, 0x8, 0x200  # InterfaceFlags
EDIT_FLAGS = ("PolicyModules\\CertificateAuthority_MicrosoftDefault.Policy", "EditFlags")
INTERFACE_FLAGS = ("", "InterfaceFlags")
WHERE = "certsrv.msc, the CA's properties, tab Security"


class Authority:
    """The CA, asked by RPC."""

    def __init__(self, subject: Subject, world: World, seen: Seen) -> None:
        self._subject = subject
        self._world = world
        self._seen = seen

    def bind(self) -> Finding:
        """See whether the CA answers us, protected."""
        self._seen.answer = self._world.probe()
        return Finding("bind", "ok", f"{self._subject.host} answers us, protected")

    def ca_name(self) -> Finding:
        """An unknown name is an invalid argument; so may be a request that cannot exist."""
        name = self._subject.ca_name
        if self._seen.answer != INVALID_ARGUMENT:
            return Finding("ca-name", "ok", f"it is {name}")
        if "ca-object" not in self._seen.broken:
            return Finding("ca-name", "ok", f"it is {name}, says the directory")
        return Finding(
            "ca-name",
            "warn",
            f"the CA may not know the name {name}",
            "compare ca-name with what certutil -CA shows",
            hexadecimal(INVALID_ARGUMENT),
        )

    def issuers(self) -> Finding:
        """What the CA returns is verified under these; they are in a file, or the CA is asked."""
        step, in_file = "issuers", self._subject.issuers_in_file
        if not in_file and "bind" in self._seen.broken:
            return Finding(step, "skipped", "not looked at: bind comes first")
        try:
            known = self._world.issuers()
        except (Unread, *Known) as error:
            why = cause(error)
            return Finding(
                step,
                "fail",
                f"which CA certificates to verify under is not known: {shown(why, 300)}",
                "set ca-certificates to a file that has them in PEM; or let this machine reach the"
                " CA's RPC ports (135, 49152-65535)",
            )
        where = "the file ca-certificates has" if in_file else "the CA tells"
        if self._seen.newest and self._seen.newest not in known:
            return Finding(
                step,
                "fail",
                f"{where} {len(known)} certificates, and the CA's newest is not among them: what it"
                " signs would be refused and revoked",
                "add it to the file: certutil -ca.cert FILE on the CA writes it",
            )
        return Finding(step, "ok", f"{where} the CA's certificate, and {len(known)} in all")

    def rights(self) -> Iterator[Finding]:
        """Yield what is found of the CA's own settings."""
        if "bind" in self._seen.broken:
            for step in ("request-right", "revoke-right", "edit-flags", "interface-flags"):
                yield Finding(step, "skipped", "not looked at: bind comes first")
            return
        unread = ""
        try:
            self._seen.security = descriptors.parse(self._world.security())
        except (Unread, Malformed) as error:
            unread = str(error)
        except Known as error:
            unread = cause(error)
        yield self._request_right(unread)
        yield self._revoke_right(unread)
        yield self._edit_flags()
        yield self._interface_flags()

    def _request_right(self, unread: str) -> Finding:
        step = "request-right"
        remedy = f"{WHERE}: Request Certificates"
        denied = hexadecimal(ENROLL_DENIED)
        if self._seen.answer == ENROLL_DENIED:
            text = "the CA takes no requests of this account, or none from other machines"
            return Finding(step, "fail", text, remedy, denied)
        verdict = self._granted(CA_ENROLL)
        if verdict is None:
            return _unknown(step, unread)
        if verdict:
            return Finding(step, "ok", "the account may request certificates")
        return Finding(step, "fail", "the account may not request certificates", remedy, denied)

    def _revoke_right(self, unread: str) -> Finding:
        step = "revoke-right"
        remedy = (
            f"{WHERE}: Issue and Manage Certificates (tab Certificate Managers narrows it to the"
            " template); or disable-ca-revocation: true"
        )
        if not self._subject.revokes:
            return Finding(step, "ok", "not needed: disable-ca-revocation is set")
        verdict = self._granted(CA_OFFICER)
        if verdict is None:
            return _unknown(step, unread)
        if verdict:
            return Finding(step, "ok", "the account may revoke certificates")
        return Finding(
            step,
            "warn",
            "the account may not revoke certificates: revocations are accepted here, and not passed"
            " on to the CA",
            remedy,
            hexadecimal(ACCESS_DENIED),
        )

    def _granted(self, right: int) -> bool | None:
        """Whether the account has a right on the CA; None: that cannot be told."""
        if self._seen.security is None:
            return None
        if self._seen.account is None:
            known = granted(self._seen.security, descriptors.OF_EVERY_LOGON, right)
            return True if known.granted else None
        return granted(self._seen.security, self._seen.account.sids, right).granted

    def _edit_flags(self) -> Finding:
        step, command = "edit-flags", "certutil -getreg policy\\EditFlags"
        value = self._number(EDIT_FLAGS)
        if isinstance(value, str):
            return Finding(step, "skipped", value, f"on the CA: {command}; see docs/adcs.md, ESC6")
        if value & SUBJECT_ALT_NAME_2:
            return Finding(
                step,
                "warn",
                "EDITF_ATTRIBUTESUBJECTALTNAME2 is set: whoever may enrol with any template gets"
                " any name into his certificate (ESC6)",
                "on the CA: certutil -setreg policy\\EditFlags -EDITF_ATTRIBUTESUBJECTALTNAME2,"
                " then restart CertSvc",
            )
        return Finding(step, "ok", "names come from requests and templates, not from attributes")

    def _interface_flags(self) -> Finding:
        step, command = "interface-flags", "certutil -getreg CA\\InterfaceFlags"
        value = self._number(INTERFACE_FLAGS)
        if isinstance(value, str):
            return Finding(step, "skipped", value, f"on the CA: {command}; see docs/adcs.md, ESC11")
        if value & (NO_REMOTE_REQUESTS | NO_RPC_REQUESTS):
            return Finding(
                step,
                "fail",
                "the CA takes no requests by RPC",
                "on the CA: certutil -setreg CA\\InterfaceFlags -IF_NOREMOTEICERTREQUEST"
                " (or -IF_NORPCICERTREQUEST), then restart CertSvc",
            )
        if not value & PRIVATE_REQUESTS:
            return Finding(
                step,
                "warn",
                "IF_ENFORCEENCRYPTICERTREQUEST is not set: the CA takes requests unprotected, which"
                " can be relayed (ESC11); ours are protected",
                "on the CA: certutil -setreg CA\\InterfaceFlags +IF_ENFORCEENCRYPTICERTREQUEST,"
                " then restart CertSvc",
            )
        return Finding(step, "ok", "the CA takes protected requests only")

    def _number(self, where: tuple[str, str]) -> int | str:
        """Return one of the CA's settings, or why it is not known."""
        try:
            return self._world.setting(*where)
        except Unread as error:
            return str(error)
        except Known as error:
            return cause(error)


def _unknown(step: str, unread: str) -> Finding:
    """Return that a right is not known; where it cannot be read from here, where to look."""
    if unread:
        return Finding(step, "skipped", unread, f"look there: {WHERE}")
    return Finding(step, "skipped", "not looked at: account comes first")
