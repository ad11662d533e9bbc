"""What a connection asks of whoever proves who is at its other end, and protects what is said."""

from typing import Protocol

NTLM, NEGOTIATE, KERBEROS = 10, 9, 16
INTEGRITY, PRIVACY = 5, 6


class NotAuthenticated(Exception):
    """Who is at the other end was not proven; or what came was changed on its way."""


class Acceptor(Protocol):
    """One security context, as the server sees it. Only its connection uses it."""

    @property
    def user(self) -> str:
        """Who is at the other end, as the log shall name him; empty until that is proven."""
        ...

    @property
    def token_length(self) -> int:
        """How long the tokens of `wrap` are."""
        ...

    def step(self, token: bytes) -> bytes:
        """Take the client's token; return the answer, empty if there is none.

        Raises NotAuthenticated.
        """
        ...

    def unwrap(
        self, head: bytes, stub: bytes, trailer: bytes, token: bytes, *, seal: bool
    ) -> bytes:
        """Return the stub of a message that came in, padding included, once it is verified.

        `head` stands before it, `trailer` behind. Raises NotAuthenticated.
        """
        ...

    def wrap(self, head: bytes, stub: bytes, trailer: bytes, *, seal: bool) -> tuple[bytes, bytes]:
        """Return a stub as it goes out, and its token."""
        ...
