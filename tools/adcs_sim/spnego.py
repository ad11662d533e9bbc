"""The frame around a mechanism's tokens in which Windows negotiates: RFC 4178, as far as needed.

client  NegTokenInit   which mechanisms it has, and a token of the first one
server  NegTokenResp   which one it takes, whether all is well, and a token of that one
"""

from collections.abc import Callable

from tools.adcs_sim.security import Acceptor, NotAuthenticated

SPNEGO = bytes.fromhex("2b0601050502")
NTLM = bytes.fromhex("2b06010401823702020a")
KERBEROS = bytes.fromhex("2a864886f712010202")
KERBEROS_OF_WINDOWS = bytes.fromhex("2a864882f712010202")
"""As Windows 2000 had it by mistake, and as everybody has said since."""
_COMPLETED, _INCOMPLETE = b"\x00", b"\x01"
_SEQUENCE, _OBJECT, _OCTETS, _ENUMERATED, _FRAME = 0x30, 0x06, 0x04, 0x0A, 0x60
_INIT, _RESPONSE = 0xA0, 0xA1

Mechanisms = Callable[[bytes], Acceptor | None]
"""Return a new security context of a mechanism, by its identifier; None: it is not spoken."""


class SpnegoAcceptor:
    """An `Acceptor` that lets the client choose among others."""

    def __init__(self, mechanisms: Mechanisms) -> None:
        self._mechanisms = mechanisms
        self._chosen: Acceptor | None = None

    @property
    def user(self) -> str:
        """Who is at the other end."""
        return self._chosen.user if self._chosen else ""

    @property
    def token_length(self) -> int:
        """How long the tokens of `wrap` are."""
        return self._chosen.token_length if self._chosen else 0

    def step(self, token: bytes) -> bytes:
        """Take the client's token in its frame, return the answer in one."""
        if self._chosen is None:
            return self._begin(token)
        inner = parts(body(token, _RESPONSE)).get(0xA2)
        answer = self._chosen.step(body(inner, _OCTETS)) if inner else b""
        return self._answer(answer, b"")

    def unwrap(
        self, head: bytes, stub: bytes, trailer: bytes, token: bytes, *, seal: bool
    ) -> bytes:
        """Return a verified stub."""
        if self._chosen is None:
            raise NotAuthenticated("nothing was agreed yet")
        return self._chosen.unwrap(head, stub, trailer, token, seal=seal)

    def wrap(self, head: bytes, stub: bytes, trailer: bytes, *, seal: bool) -> tuple[bytes, bytes]:
        """Return a protected stub, and its token."""
        if self._chosen is None:
            raise NotAuthenticated("nothing was agreed yet")
        return self._chosen.wrap(head, stub, trailer, seal=seal)

    def _begin(self, token: bytes) -> bytes:
        framed = body(token, _FRAME)
        kind, value, at = element(framed, 0)
        if kind != _OBJECT or value != SPNEGO:
            raise NotAuthenticated("a token of another mechanism than SPNEGO")
        told = parts(body(framed[at:], _INIT))
        offered = [value for _, value in elements(body(told.get(0xA0, b""), _SEQUENCE))]
        for index, mechanism in enumerate(offered):
            self._chosen = self._mechanisms(mechanism)
            if self._chosen:
                # Only the first one's token may come along; for another one the client begins anew.
                first = told.get(0xA2) if index == 0 else None
                answer = self._chosen.step(body(first, _OCTETS)) if first else b""
                return self._answer(answer, mechanism)
        raise NotAuthenticated("none of the mechanisms that were offered is spoken")

    def _answer(self, token: bytes, mechanism: bytes) -> bytes:
        state = _COMPLETED if self.user else _INCOMPLETE
        told = der(0xA0, der(_ENUMERATED, state))
        if mechanism:
            told += der(0xA1, der(_OBJECT, mechanism))
        if token:
            told += der(0xA2, der(_OCTETS, token))
        return der(_RESPONSE, der(_SEQUENCE, told))


def unframed(token: bytes) -> bytes:
    """Return what stands behind the mechanism and the two bytes of its kind: RFC 4121 section 4.1.

    In DCE style there is no frame; some clients send one all the same.
    """
    if token[:1] != bytes((_FRAME,)):
        return token
    framed = body(token, _FRAME)
    _, _, at = element(framed, 0)
    return framed[at + 2 :]


def element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return the tag and value of an element of DER, and where it ends. Raises NotAuthenticated."""
    if at + 2 > len(data):
        raise NotAuthenticated("a token cut off")
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    if at + length > len(data):
        raise NotAuthenticated("a token cut off")
    return tag, data[at : at + length], at + length


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """Return the elements in a value."""
    found, at = [], 0
    while at < len(data):
        tag, value, at = element(data, at)
        found.append((tag, value))
    return found


def parts(data: bytes) -> dict[int, bytes]:
    """Return the elements of a sequence by their tags."""
    return dict(elements(body(data, _SEQUENCE)))


def body(data: bytes, tag: int) -> bytes:
    """Return the value of an element that has to have that tag. Raises NotAuthenticated."""
    found, value, _ = element(data, 0)
    if found != tag:
        raise NotAuthenticated(f"tag 0x{found:02x} where 0x{tag:02x} was expected")
    return value


def der(tag: int, value: bytes) -> bytes:
    """Return an element."""
    length = len(value)
    if length < 0x80:  # noqa: PLR2004 - DER's short form
        return bytes((tag, length)) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + value
