"""What protects a connection: a security context, of NTLM, of Kerberos, or of the system's own.

`rpc.py` carries its tokens and asks it to seal every request and to unseal every reply. Where the
context comes from is nobody's business there: `ntlm.py` and `gss.py` make them out of impacket's
parts, and on Windows SSPI has its own.
"""

from typing import Protocol


class Tampered(Exception):
    """A reply is not what the server sent, or not sent by it, or not in this place."""


class Refused(Exception):
    """The server does not take who we are. `symbol` is what it said: `KRB_AP_ERR_SKEW`.

    `number` is Kerberos' own, if it was one of its errors.
    """

    def __init__(self, symbol: str, cause: str, number: int | None = None) -> None:
        super().__init__(f"{cause}: {symbol}")
        self.symbol = symbol
        self.cause = cause
        self.number = number


class SecurityContext(Protocol):
    """One side of one authenticated connection. Used by one thread at a time, for one connection.

    `kind` is the number of the security provider on the wire: 10 NTLM, 9 SPNEGO, 16 Kerberos.
    MS-RPCE section 2.2.1.1.7.
    """

    @property
    def kind(self) -> int:
        """The security provider's number."""
        ...

    @property
    def complete(self) -> bool:
        """Whether requests can be sealed: nothing more is waited for from the server."""
        ...

    def step(self, token: bytes) -> bytes:
        """Take the server's token (the first time: none, empty); return the next for it, or b"".

        Raises Tampered or Refused.
        """
        ...

    def overhead(self, length: int) -> int:
        """Return how long the verifier of a body of that length is."""
        ...

    def seal(self, header: bytes, body: bytes, trailer: bytes) -> tuple[bytes, bytes]:
        """Return the body encrypted (as long as it was) and the verifier.

        `header` and `trailer` stand before and behind it on the wire, and are not encrypted; a
        context that can signs them as well. Bodies come padded to 16 bytes.
        """
        ...

    def unseal(self, header: bytes, body: bytes, trailer: bytes, verifier: bytes) -> bytes:
        """Return the body decrypted. Raises Tampered unless it is the server's next one."""
        ...
