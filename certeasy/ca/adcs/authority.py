"""A CA of a Windows domain, as an `Authority`.

Enrolment goes by `icpr`, everything that is an officer's or the CA's own by `officers` (DCOM). What
the CA answers is told apart by `answers`; nothing here looks at its texts.

A lost answer: AD CS has no number of the client's for a request, so whether it was executed can
only be seen from the CA's side. With a request number, it is asked for. Without, `lost-answers:
probe` walks through the numbers after the highest that was known before, and takes the certificate
with the request's key and names; otherwise, or if none is found, the submission is `Untraceable`.
`twins` walks the same way, whatever the setting: it only reads, and the CA decides what we may see.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certeasy.ca.adcs import answers, chain, codes, reaching
from certeasy.ca.adcs.chain import UNREADABLE
from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.errors import AnswerLost, HResult, NotReached, hexadecimal
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identities import identity_of
from certeasy.ca.adcs.identity import Identity, NotAuthenticated
from certeasy.ca.adcs.officers import Officers as CaOfficers
from certeasy.ca.adcs.transport import Target
from certeasy.ca.authority import (
    InDoubt,
    Issued,
    Outcome,
    Revocation,
    RevocationRefused,
    Submission,
    Trace,
    Unavailable,
    Untraceable,
)
from certeasy.clock import Clock
from certeasy.log import logger
from certeasy.settings import AuthoritySettings
from certeasy.settings.adcs import AdcsSettings

log = logger("adcs")

FARTHEST = 200
"""So many request numbers are looked at behind the last one that was known."""
END = 8
"""So many numbers in a row that the CA does not show are the end of its requests."""
ISSUERS_ARE_GOOD = timedelta(hours=1)
_UNKNOWN = frozenset(map(hexadecimal, (0x80094002, 0x80094004)))
"""What is said of a request that the CA does not have."""

_LAST = 0xFFFF_FFFE
"""The highest number that a request can have."""


class Officers(Protocol):
    """What is asked of a CA beside enrolment: [MS-CSRA], and [MS-WCCE] by DCOM.

    Each raises NotReached, NotAuthenticated, AnswerLost or HResult.
    """

    def revoke(self, serial: str, reason: int, deadline: Deadline) -> None:
        """Revoke a certificate as of now; `serial` is lower-case hex."""
        ...

    def publish_crl(self, deadline: Deadline) -> None:
        """Have the CA publish its revocation list."""
        ...

    def ca_certificates(self, deadline: Deadline) -> tuple[bytes, ...]:
        """Return the CA's certificates (DER) of all its keys, and those above them."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class AdcsAuthority:
    """One CA, as one identity. Good for any number of threads."""

    in_process = False
    copies_request = True

    def __init__(
        self,
        name: str,
        settings: AdcsSettings,
        identity: Identity,
        enrolment: Enrolment,
        officers: Officers | None,
        clock: Clock,
        *,
        tells: bool = True,
    ) -> None:
        """`tells`: revocations are passed on to the CA."""
        self.name = name
        self._settings = settings
        self._ca = settings.common_name
        self._identity = identity
        self._enrolment = enrolment
        self._officers = officers
        self._clock = clock
        self._lock = threading.Lock()
        self._issuers: tuple[bytes, ...] = ()
        self._learnt = float("-inf")
        self._file: tuple[float, int] = (0.0, 0)
        self.revokes = tells and officers is not None

    @property
    def described(self) -> str:
        """Tell people which CA this is, and who asks it with which template."""
        chosen = self._settings
        return (
            f"{chosen.server}\\{self._ca} ({chosen.transport}), template"
            f" {chosen.certificate_template}, asked as {self._identity.described}"
        )

    # ------------------------------------------------------------------ enrolment

    def submit(self, submission: Submission) -> Outcome:
        """Ask for a certificate. Raises Unavailable or InDoubt."""
        template = submission.template or self._settings.certificate_template
        telling = self._settings.request_attributes
        named = answers.attributes(template, submission, telling=telling)
        try:
            reply = self._enrolment.request(self._ca, submission.csr, named, self._call())
        except AnswerLost as lost:
            raise InDoubt(str(lost)) from lost
        except HResult as answer:
            return answers.refused(answer.code)
        except (NotReached, NotAuthenticated, Late) as error:
            raise _unavailable(error) from error
        return self._known(answers.outcome(reply))

    def poll(self, submission: Submission, request_id: str) -> Outcome:
        """Ask what became of a request. Raises Unavailable.

        One that the CA does not have (any more) is denied: it may have been restored from a backup.
        """
        try:
            number = _number(request_id)
            if not number:
                told = "it has another kind of numbers now"
                raise Unavailable(told, code=hexadecimal(codes.NO_SUCH_REQUEST))
            return self._known(self._retrieved(number))
        except Unavailable as error:
            if error.code not in _UNKNOWN:
                raise
            return answers.no_such(submission, request_id, error.reason, error.code)

    def recover(self, submission: Submission, trace: Trace) -> Outcome | None:
        """Ask what became of a submission in doubt. Raises Untraceable or Unavailable."""
        if trace.request_id:
            return self.poll(submission, trace.request_id)
        if self._settings.lost_answers != "probe":
            raise Untraceable("its request number was not learnt, and lost-answers is resubmit")
        if _number(trace.after) is None:
            raise Untraceable("no request number of the CA is known to begin looking at")
        names = set(submission.names)
        behind = self._look(submission, trace, "")
        # Another order of today may have used the same key, for other names.
        found = next((one for one in behind if _names(one.certificate) == names), None)
        if found is None:
            raise Untraceable(
                f"none of the CA's requests after {trace.after} that it shows is for its key"
            )
        return self._known(found)

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:
        """Look for other certificates of a submission. Raises Unavailable."""
        if _number(trace.after) is None:
            return ()
        return tuple(self._look(submission, trace, known))

    def probe(self) -> None:
        """See whether the CA answers at all. Raises Unavailable."""
        try:
            code = self._enrolment.probe(self._ca, self._call(self._settings.connect_timeout))
        except (NotReached, NotAuthenticated, Late) as error:
            raise _unavailable(error) from error
        if code & 0xFFFF_FFFF == codes.ENROLL_DENIED:
            answers.refused(code)

    # ------------------------------------------------------------------ the CA's certificates

    def issuers(self) -> tuple[bytes, ...]:
        """Return the CA's certificates and those above. Raises Unavailable if they are not known.

        They are those of `ca-certificates`, or what the CA said of itself, through a channel that
        was authenticated and sealed both ways, within the last hour.
        """
        file = self._settings.ca_certificates
        if file is not None:
            return self._of_file(file)
        with self._lock:
            age = self._clock.monotonic() - self._learnt
            if self._issuers and age < ISSUERS_ARE_GOOD.total_seconds():
                return self._issuers
        return self._learn()

    def _of_file(self, file: Path) -> tuple[bytes, ...]:
        try:
            stat = file.stat()
            with self._lock:
                if self._issuers and self._file == (stat.st_mtime, stat.st_size):
                    return self._issuers
        except OSError as error:
            raise Unavailable(f"ca-certificates {file} cannot be read ({error})") from error
        found = chain.of_file(file)
        with self._lock:
            self._issuers, self._file = found, (stat.st_mtime, stat.st_size)
        return found

    def _learn(self) -> tuple[bytes, ...]:
        """Ask the CA; what it said before is still good if it does not answer."""
        with self._lock:
            before = self._issuers
        if self._officers is None:
            raise Unavailable("the CA's certificates are not known: set ca-certificates")
        try:
            found = self._officers.ca_certificates(self._call(self._settings.connect_timeout))
        except (NotReached, NotAuthenticated, Late, AnswerLost, HResult) as error:
            if before:
                log.warning("authority %s: its certificates cannot be asked: %s", self.name, error)
                return before
            raise Unavailable(
                f"the CA does not tell its certificates ({error}); set ca-certificates"
            ) from error
        with self._lock:
            self._issuers, self._learnt = found, self._clock.monotonic()
        return found

    def _known(self, outcome: Outcome) -> Outcome:
        """Return an outcome; look for the CA's new certificate if the leaf is of none we know."""
        file = self._settings.ca_certificates
        if isinstance(outcome, Issued) and file is None and self._officers is not None:
            with self._lock:
                issuers = self._issuers
            if issuers and not any(_signed(outcome.certificate, issuer) for issuer in issuers):
                log.info("authority %s has another certificate by now; it is asked", self.name)
                self._learn()
        return outcome

    # ------------------------------------------------------------------ revocation

    def revoke(self, revocation: Revocation) -> None:
        """Have a certificate revoked. Raises Unavailable or RevocationRefused."""
        officers = self._officers
        if officers is None or not self.revokes:
            raise Unavailable("disable-ca-revocation is set", sick=False)
        try:
            officers.revoke(revocation.serial, revocation.reason, self._call())
        except HResult as answer:
            said, code = codes.told(answer.code), hexadecimal(answer.code)
            if answer.code & 0xFFFF_FFFF in codes.NO_SUCH:
                raise RevocationRefused(said, code) from answer
            raise Unavailable(said, sick=False, code=code) from answer
        except (NotReached, NotAuthenticated, Late, AnswerLost) as error:
            raise _unavailable(error) from error  # to revoke twice does no harm
        if self._settings.publish_crl:
            self._publish(officers)

    def _publish(self, officers: Officers) -> None:
        """Have the list published. It comes out by itself later, if this cannot be."""
        try:
            officers.publish_crl(self._call())
        except HResult as answer:
            why = codes.told(answer.code)
            log.warning("authority %s does not publish its list: %s", self.name, why)
        except (NotReached, NotAuthenticated, Late, AnswerLost) as error:
            log.warning("authority %s does not publish its list: %s", self.name, error)

    def close(self) -> None:
        """Give back connections and threads."""
        self._enrolment.close()
        if self._officers is not None:
            self._officers.close()

    # ------------------------------------------------------------------ inside

    def _call(self, within: timedelta | None = None) -> Deadline:
        return Deadline((within or self._settings.default_timeout).total_seconds())

    def _retrieved(self, number: int) -> Outcome:
        try:
            reply = self._enrolment.retrieve(self._ca, number, self._call())
        except HResult as answer:
            return answers.refused(answer.code)
        except (NotReached, NotAuthenticated, Late) as error:
            raise _unavailable(error) from error
        return answers.outcome_by_now(reply)

    def _look(self, submission: Submission, trace: Trace, known: str) -> Iterator[Issued]:
        """Yield the certificates for a request's key behind the number that was known before."""
        key = _key_of_request(submission.csr)
        first, last, hidden = (_number(trace.after) or 0) + 1, _number(known) or 0, 0
        for number in range(first, min(first + FARTHEST, _LAST)):
            if str(number) == known:
                hidden = 0
                continue
            certificate = self._shown(number)
            hidden = hidden + 1 if certificate is None else 0
            if hidden >= END and number > last:
                return
            if certificate is not None and _key_of(certificate.certificate) == key:
                yield certificate

    def _shown(self, number: int) -> Issued | None:
        """Return the certificate of a request, if the CA shows one. Raises Unavailable."""
        try:
            reply = self._enrolment.retrieve(self._ca, number, self._call())
        except HResult:
            return None
        except (NotReached, NotAuthenticated, Late) as error:
            raise _unavailable(error) from error
        try:
            outcome = answers.outcome_by_now(reply)
        except Unavailable:
            return None
        return outcome if isinstance(outcome, Issued) else None


def adcs_authority(
    chosen: AuthoritySettings, settings: AdcsSettings, clock: Clock, *, workers: int
) -> AdcsAuthority:
    """Return the CA that an authority's settings speak of; nothing is connected to."""
    target = Target(
        host=settings.server,
        address=settings.address or "",
        transport=settings.transport,
        port=settings.port,
        mapper_port=settings.endpoint_mapper_port,
        smb_port=settings.smb_port,
        connect_timeout=settings.connect_timeout.total_seconds(),
    )
    identity = identity_of(settings, clock)
    enrolment = Enrolment(target, identity, connections=workers, clock=clock)
    officers = CaOfficers(target, identity, settings.common_name)
    tells = not chosen.disable_ca_revocation
    return AdcsAuthority(chosen.name, settings, identity, enrolment, officers, clock, tells=tells)


def _unavailable(error: Exception) -> Unavailable:
    """Return what it means that a CA was surely not reached."""
    if isinstance(error, NotAuthenticated):
        return Unavailable(str(error), code=error.code or None)
    if isinstance(error, NotReached | AnswerLost):
        code = None if error.code is None else hexadecimal(error.code)
        return Unavailable(reaching.told(error), code=code)
    return Unavailable(str(error))


def _signed(certificate: bytes, issuer: bytes) -> bool:
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except UNREADABLE:
        return False
    return True


def _number(text: str) -> int | None:
    """Return a request number; None: it is none of such a CA.

    An authority may have been another kind of CA before, under the same name.
    """
    number = int(text) if text.isascii() and text.isdecimal() else None
    return None if number is None or number > _LAST else number


def _key_of_request(csr: bytes) -> bytes:
    request = x509.load_der_x509_csr(csr)
    return request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: bytes) -> set[str]:
    """Return the names in a certificate that can be read, lower-case, addresses among them."""
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return set()
    return {str(each.value).lower() for each in found}


def _key_of(certificate: bytes) -> bytes | None:
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except UNREADABLE:
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
