"""A CA of a Windows domain by the programs that Windows has for it: `adcs-cli`, an `Authority`.

The fallback where RPC cannot be used: a process for each call, as the account that this server runs
as, and no way to look for the certificate of a lost answer unless its number was printed. A request
is decided once a number was printed; before that, and where a program had to be ended or says that
a call was interrupted, it is in doubt.

This was written from Microsoft's documentation of the two programs, and tested with programs that
stand in for them. It was not run on Windows.
"""

import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.ca.adcs import answers, chain, codes, csra
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import AnswerLost, NotReached, WireError, hexadecimal
from certeasy.ca.adcs.ndr import Reply
from certeasy.ca.adcs.programs import Ended, Programs, programs_of, word, write_private
from certeasy.ca.authority import (
    Denied,
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
from certeasy.settings.adcs import AdcsCliSettings

ISSUED, PENDING = 3, 5
PROBE = timedelta(seconds=30)
INTERRUPTED = frozenset({0x800706BE, 0x8007071A, 0x800705B4, 0x80070040, 0x80070079, 0x80010007,
                         0x80010108, 0x8001011F})  # fmt: skip
"""A call that had begun was not seen to its end: RPC_S_CALL_FAILED and its like."""
_OF_WINDOWS = frozenset({0x8001, 0x8007})
"""Facilities of HRESULTs: RPC, and errors of Win32."""


class CertreqAuthority:
    """One CA, as the account of this process. Good for any number of threads."""

    in_process = False
    copies_request = True

    def __init__(
        self, name: str, settings: AdcsCliSettings, folder: Path, *, tells: bool = True
    ) -> None:
        """`folder` is for files that live as long as a call. `tells`: revocations are passed on."""
        self.name = name
        self.revokes = tells
        self._settings = settings
        self._certreq, self._certutil = programs_of(settings)
        self._programs = Programs(folder)
        self._programs.clear()
        self._lock = threading.Lock()
        self._issuers: tuple[bytes, ...] = ()

    @property
    def described(self) -> str:
        """Tell people which CA this is, and who asks it with which template."""
        chosen = self._settings
        return (
            f"{chosen.ca_name} by {self._certreq}, template {chosen.certificate_template}, asked as"
            " the account that this server runs as"
        )

    # ------------------------------------------------------------------ enrolment

    def submit(self, submission: Submission) -> Outcome:
        """Ask for a certificate. Raises Unavailable or InDoubt."""
        template = submission.template or self._settings.certificate_template
        telling = self._settings.request_attributes
        named = answers.attributes(template, submission, telling=telling)
        words = ["-attrib", _attributes(named), "-submit", "request.der", *_RESULTS]
        try:
            with self._programs.files() as place:
                write_private(place / "request.der", submission.csr)
                ended = self._certreq_run(words, place)
                reply = _reply(ended, place)
        except NotReached as error:
            raise Unavailable(str(error)) from error
        except AnswerLost as lost:
            raise InDoubt(str(lost)) from lost
        if reply is not None:
            return answers.outcome(reply)
        code = ended.code
        if code is None or code in INTERRUPTED:
            raise InDoubt(f"certreq ended with {_told(ended)}, and no number of a request")
        return _refused(code)

    def poll(self, submission: Submission, request_id: str) -> Outcome:
        """Ask what became of a request; one that the CA does not have (any more) is denied.

        Raises Unavailable.
        """
        words = ["-retrieve", str(int(request_id)), *_RESULTS]
        try:
            with self._programs.files() as place:
                ended = self._certreq_run(words, place)
                reply = _reply(ended, place)
        except WireError as error:
            raise Unavailable(str(error)) from error
        code = ended.code
        if reply is not None:
            return answers.outcome_by_now(reply)
        if code is None:
            raise Unavailable(f"certreq ended with {_told(ended)}")
        if code in codes.NO_SUCH:
            reason = codes.told(code)
            return answers.no_such(submission, request_id, reason, hexadecimal(code))
        return _refused(code)

    def recover(self, submission: Submission, trace: Trace) -> Outcome | None:
        """Ask what became of a submission in doubt. Raises Untraceable or Unavailable."""
        if not trace.request_id:
            raise Untraceable("its request number was not learnt, and certreq cannot look for it")
        return self.poll(submission, trace.request_id)

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:
        """Return none: these programs cannot look for others."""
        del submission, trace, known
        return ()

    def probe(self) -> None:
        """See whether the CA answers. Raises Unavailable."""
        limit = min(PROBE, self._settings.default_timeout)
        self._certutil_run(["-ping"], Deadline(limit.total_seconds()))

    # ------------------------------------------------------------------ the CA's certificates

    def issuers(self) -> tuple[bytes, ...]:
        """Return the CA's certificates and those above. Raises Unavailable if they are not known.

        They are those of `ca-certificates`, or what certutil was told by the CA, once.
        """
        with self._lock:
            if not self._issuers:
                file = self._settings.ca_certificates
                self._issuers = self._asked() if file is None else chain.of_file(file)
            return self._issuers

    def _asked(self) -> tuple[bytes, ...]:
        words = ["-ca.chain", "chain.p7b"]
        data = self._certutil_run(words, self._call(), result="chain.p7b")
        found = tuple(one.public_bytes(Encoding.DER) for one in chain.read(data))
        if not found:
            raise Unavailable("certutil does not tell the CA's certificates: set ca-certificates")
        return found

    # ------------------------------------------------------------------ revocation

    def revoke(self, revocation: Revocation) -> None:
        """Have a certificate revoked. Raises Unavailable or RevocationRefused."""
        reason = revocation.reason if revocation.reason in csra.KNOWN_REASONS else csra.UNSPECIFIED
        serial = csra.written(revocation.serial)
        self._certutil_run(["-revoke", serial, str(reason)], self._call(), final=codes.NO_SUCH)

    def close(self) -> None:
        """Give nothing back: there is nothing."""

    # ------------------------------------------------------------------ inside

    def _call(self) -> Deadline:
        return Deadline(self._settings.default_timeout.total_seconds())

    def _certreq_run(self, words: list[str], place: Path) -> Ended:
        given = ["-q", "-binary", "-config", word(self._settings.ca_name), *words]
        return self._programs.run(self._certreq, given, place, self._call())

    def _certutil_run(
        self,
        words: list[str],
        deadline: Deadline,
        *,
        final: frozenset[int] = frozenset(),
        result: str = "",
    ) -> bytes:
        """Run certutil, and return what it wrote into the file `result`.

        It ends with 0, or this raises Unavailable, or RevocationRefused for the codes that are
        `final`.
        """
        given = ["-config", word(self._settings.ca_name), *words]
        try:
            with self._programs.files() as place:
                ended = self._programs.run(self._certutil, given, place, deadline)
                written = _written(place / result) if result else b""
        except WireError as error:
            raise Unavailable(str(error)) from error
        if not ended.exit_code:
            return written
        code = ended.code
        if code is None:
            raise Unavailable(f"certutil ended with {_told(ended)}")
        if code in final:
            raise RevocationRefused(codes.told(code), hexadecimal(code))
        raise Unavailable(codes.told(code), sick=code >> 16 in _OF_WINDOWS, code=hexadecimal(code))


_RESULTS = ("certificate.der", "chain.p7b")


def _refused(code: int) -> Denied:
    """Return the denial that a code means, which came without the number of a request.

    Raises Unavailable: Windows' own codes tell that the CA was not reached.
    """
    if code >> 16 in _OF_WINDOWS:
        raise Unavailable(codes.told(code), code=hexadecimal(code))
    return answers.refused(code)


def _reply(ended: Ended, place: Path) -> Reply | None:
    """Return what the CA decided, if it did; None: it does not say so."""
    number = ended.request_id
    certificate = _written(place / _RESULTS[0])
    if not ended.exit_code and certificate:
        return Reply(ISSUED, number, _written(place / _RESULTS[1]), certificate, "")
    code = ended.code
    if code is not None:
        return Reply(code, number, b"", b"", "") if number and code not in INTERRUPTED else None
    return Reply(PENDING, number, b"", b"", "") if number and not ended.exit_code else None


def _attributes(named: Mapping[str, str]) -> str:
    """Return attributes as certreq wants them: it takes `\\n` for a line's end."""
    for value in named.values():
        if "\\" in value or not value.isprintable():
            raise ValueError(f"{value!r} would be more than one attribute")
    return word("\\n".join(f"{name}:{value}" for name, value in named.items()))


def _written(path: Path) -> bytes:
    """Return what a program wrote, as DER; nothing, if it wrote nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(chain.LARGEST)
    except OSError:
        return b""
    return data


def _told(ended: Ended) -> str:
    return f"exit code {hexadecimal(ended.exit_code)}"
