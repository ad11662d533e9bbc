"""What a CA remembers: requests, certificates, revocations. In memory, and in a file.

The file is a JSON document a line, one for each change, the last one of a request counts. A change
is on disk before anybody hears of it, so that a CA that was killed knows what it issued.
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Condition
from typing import Literal

import msgspec
from cryptography import x509
from msgspec import Struct

State = Literal["pending", "issued", "denied", "failed", "revoked"]


class Request(Struct, frozen=True, kw_only=True):
    """A row of the CA's database.

    `disposition` and `message` are what is answered. `polls` counts how often it was asked for
    while it was pending. `certificate` is DER. `revoked` is the reason, at `revoked_at`.
    """

    id: int
    submitted: datetime
    requester: str
    template: str
    csr: bytes
    attributes: dict[str, str]
    state: State
    disposition: int
    message: str = ""
    certificate: bytes = b""
    polls: int = 0
    revoked: int | None = None
    revoked_at: datetime | None = None


class _Signed(Struct, frozen=True, tag="signed"):
    """A certificate that was signed and is nobody's answer, such as the twin of a wrong one."""

    certificate: bytes


class _Row(Struct, frozen=True, tag="request"):
    request: Request


_LINE = msgspec.json.Decoder(_Signed | _Row)


class Database:
    """The requests of one CA, safe for all threads."""

    def __init__(self, file: Path | None = None) -> None:
        self.changed = Condition()
        """Notified at every change; whoever waits on it holds it."""
        self._requests: dict[int, Request] = {}
        self._signed: dict[bytes, None] = {}
        self._serials: dict[str, int] = {}
        self._next = 1
        self._file = None
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            for line in file.read_bytes().splitlines() if file.exists() else ():
                self._remember(line)
            self._file = file.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def new_id(self) -> int:
        """Return the next request's number; a request that is refused takes one too."""
        with self.changed:
            self._next += 1
            return self._next - 1

    def get(self, number: int) -> Request | None:
        """Return a request."""
        with self.changed:
            return self._requests.get(number)

    def by_serial(self, serial: str) -> Request | None:
        """Return the request that a certificate was issued for; lower-case hex, no zeros ahead."""
        with self.changed:
            return self._requests.get(self._serials.get(serial, 0))

    def requests(self) -> list[Request]:
        """Return all requests, oldest first."""
        with self.changed:
            return sorted(self._requests.values(), key=lambda request: request.id)

    def issued(self) -> list[bytes]:
        """Return every certificate (DER) that was ever signed here, in order."""
        with self.changed:
            return list(self._signed)

    def put(self, request: Request) -> Request:
        """Keep a new request, or what has become of it. Its certificate counts as issued."""
        with self.changed:
            self._write(_Row(request))
            self._keep(request)
            self.changed.notify_all()
        return request

    def change(self, number: int, change: Callable[[Request], Request | None]) -> Request | None:
        """Change a request; nobody else does meanwhile. None of `change` leaves it as it is."""
        with self.changed:
            request = self._requests.get(number)
            changed = change(request) if request else None
            return self.put(changed) if changed else request

    def signed(self, certificate: bytes) -> None:
        """Keep a certificate that is nobody's answer."""
        with self.changed:
            self._write(_Signed(certificate))
            self._signed[certificate] = None

    def wait_for(self, so: Callable[[], object], seconds: float) -> bool:
        """Wait until something is so, and tell whether it is."""
        with self.changed:
            return bool(self.changed.wait_for(so, seconds))

    def _write(self, line: _Row | _Signed) -> None:
        if self._file:
            self._file.write(msgspec.json.encode(line) + b"\n")
            os.fsync(self._file.fileno())

    def _remember(self, line: bytes) -> None:
        try:
            found = _LINE.decode(line)
        except msgspec.DecodeError:
            return  # the end of a line that a kill cut off: nobody heard of it
        if isinstance(found, _Signed):
            self._signed[found.certificate] = None
        else:
            self._keep(found.request)

    def _keep(self, request: Request) -> None:
        self._requests[request.id] = request
        self._next = max(self._next, request.id + 1)
        if request.certificate:
            self._signed[request.certificate] = None
            # Another order's, in the place of its own, is revoked in the row that it came with.
            self._serials.setdefault(serial_of(request.certificate), request.id)


def serial_of(der: bytes) -> str:
    """Return a certificate's serial number in lower-case hex without leading zeros."""
    return format(x509.load_der_x509_certificate(der).serial_number, "x")
