"""The listener at which another ACME server sees that this machine has its names: http-01.

It is there only while something is to be seen, and shows nothing else: RFC 8555 section 8.3.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

WELL_KNOWN = "/.well-known/acme-challenge/"


class Open(Protocol):
    """A listener that is open."""

    def close(self) -> None:
        """End it."""
        ...


Listen = Callable[["WSGIApplication", str], Open]
"""Opens a listener for an application at an address. Raises OSError, with the address."""


def no_listener(_application: "WSGIApplication", address: str) -> Open:
    """Stand for a process that does not listen."""
    raise OSError(f"{address} is not listened on by this process")


class Showing:
    """What is shown at one address, by as many threads as have something to show."""

    def __init__(self, address: str, listen: Listen) -> None:
        self._address = address
        self._listen = listen
        self._shown: dict[str, bytes] = {}
        self._changing = threading.Lock()
        self._open: Open | None = None

    @contextmanager
    def shown(self, proofs: dict[str, str]) -> Iterator[None]:
        """Show a text for each token until the block ends. Raises OSError."""
        with self._changing:
            if self._open is None and proofs:
                self._open = self._listen(self._answer, self._address)
            self._shown |= {token: text.encode("ascii") for token, text in proofs.items()}
        try:
            yield
        finally:
            with self._changing:
                for token in proofs:
                    self._shown.pop(token, None)
                if self._open is not None and not self._shown:
                    self._open.close()
                    self._open = None

    def _answer(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD")
        known = path.startswith(WELL_KNOWN) and method in {"GET", "HEAD"}
        found = self._shown.get(path.removeprefix(WELL_KNOWN)) if known else None
        if found is None:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        length = str(len(found))
        kind = "application/octet-stream"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", length)])
        return [found]
