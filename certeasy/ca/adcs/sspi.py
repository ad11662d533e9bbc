"""The account that this server runs as, where Windows itself knows it: SSPI.

A group managed service account, the machine's own account, a person who tries something out: their
secrets never leave Windows, which makes security contexts of them for whoever runs as them. So
there is no ticket to hand to others: TCP alone is spoken like this, not the pipe, whose SMB would
need a ticket.

Needs `pip install certeasy[windows]`. Kerberos alone is asked for, and nothing is negotiated: what
would be fallen back to is NTLM.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from certeasy.ca.adcs.deadline import Bounded, Deadline
from certeasy.ca.adcs.identity import Credentials, NotAuthenticated
from certeasy.ca.adcs.security import Refused, Tampered

if TYPE_CHECKING:
    from spnego import ContextProxy

KINDS = {"negotiate": 9, "ntlm": 10, "kerberos": 16}
"""Numbers of security providers on the wire. MS-RPCE section 2.2.1.1.7."""
REMEDY = "on Windows, pip install 'certeasy[windows]'; elsewhere, use a keytab"


class SspiIdentity:
    """Whoever the process runs as.

    `made` makes a context for a service and a host; left out, Windows does, for the current user.
    """

    def __init__(
        self,
        made: Callable[[str, str], "ContextProxy"] | None = None,
        *,
        kind: int = KINDS["kerberos"],
        ntlm_allowed: bool = False,
    ) -> None:
        self._made = made or current_user
        self._kind = kind
        self._ntlm_allowed = ntlm_allowed
        self._bounded = Bounded()

    @property
    def described(self) -> str:
        """Tell people who."""
        return "the account that this server runs as (SSPI)"

    def credentials(self, service: str, host: str, deadline: Deadline) -> Credentials:
        """Have nothing to show. Raises NotAuthenticated."""
        del deadline
        raise NotAuthenticated(
            "",
            f"Windows hands out no ticket for {service}/{host} that could be shown to others",
            "set `transport: tcp`, or use a keytab",
        )

    def security_context(self, service: str, host: str, deadline: Deadline) -> "SspiContext":
        """Return a new context for a service of a host. Raises NotAuthenticated, or Late."""
        context = self._bounded.run(deadline, lambda: self._context(service, host))
        return SspiContext(context, self._kind, deadline, ntlm_allowed=self._ntlm_allowed)

    def _context(self, service: str, host: str) -> "ContextProxy":
        try:
            return self._made(service, host)
        except ImportError as error:
            raise NotAuthenticated(
                "", f"this system has no SSPI that could be used: {_told(error)}", REMEDY
            ) from None
        except Exception as error:  # noqa: BLE001 - the library has errors of many kinds
            raise not_ours(error, f"{service}/{host}") from None

    def forget(self, service: str, host: str) -> None:
        """Forget nothing: tickets are Windows' affair."""


def current_user(service: str, host: str) -> "ContextProxy":
    """Have Windows make a context for the current user."""
    import spnego  # noqa: PLC0415 - an extra

    return spnego.client(
        hostname=host,
        service=service,
        protocol="kerberos",
        context_req=spnego.ContextReq.default | spnego.ContextReq.dce_style,
        options=spnego.NegotiateOptions.use_sspi,
    )


class SspiContext:
    """A connection's security context out of pyspnego, which speaks to SSPI, or to GSS-API.

    Headers of packets: NTLM signs them always, Kerberos does not unless that was agreed, which is
    not done here. So they are shown to it as what stands around and is not its concern.
    """

    def __init__(
        self, context: Any, kind: int, deadline: Deadline, *, ntlm_allowed: bool = False
    ) -> None:
        self._context = context
        self._kind = kind
        self._deadline = deadline
        self._ntlm_allowed = ntlm_allowed
        self._overhead = 0

    @property
    def kind(self) -> int:
        """The security provider's number."""
        return self._kind

    @property
    def complete(self) -> bool:
        """Whether both sides have proven who they are."""
        return bool(self._context.complete)

    def step(self, token: bytes) -> bytes:
        """Take the server's token; return the next one. Raises Refused, or NotAuthenticated."""
        self._deadline.remaining()
        first = not token
        try:
            answer = self._context.step(token or None) or b""
        except Exception as error:  # noqa: BLE001 - the library has errors of many kinds
            if first:
                raise not_ours(error, self._context.spn) from None
            raise Refused(type(error).__name__, " ".join(str(error).split())) from None
        if self.complete and self._context.negotiated_protocol == "ntlm" and not self._ntlm_allowed:
            raise Refused("NTLM", "Windows agreed on NTLM with the server, and Kerberos is needed")
        return bytes(answer)

    def overhead(self, _length: int) -> int:
        """Return how long a verifier is."""
        if not self._overhead:
            self._overhead = int(self._context.query_message_sizes().header)
        return self._overhead

    def seal(self, header: bytes, body: bytes, trailer: bytes) -> tuple[bytes, bytes]:
        """Return the body encrypted, and the verifier."""
        from spnego.iov import BufferType  # noqa: PLC0415 - an extra

        around = BufferType.data_readonly
        sealed = self._context.wrap_iov(
            [
                (around, header),
                (BufferType.data, body),
                (around, trailer),
                (BufferType.header, True),
            ],
            encrypt=True,
        )
        if not sealed.encrypted:
            raise Tampered("the system's security provider signed a request and did not seal it")
        return bytes(sealed.buffers[1].data or b""), bytes(sealed.buffers[3].data or b"")

    def unseal(self, header: bytes, body: bytes, trailer: bytes, verifier: bytes) -> bytes:
        """Return the body decrypted. Raises Tampered unless it is the server's next."""
        from spnego.iov import BufferType  # noqa: PLC0415 - an extra

        around = BufferType.data_readonly
        try:
            opened = self._context.unwrap_iov(
                [
                    (around, header),
                    (BufferType.data, body),
                    (around, trailer),
                    (BufferType.header, verifier),
                ]
            )
        except Exception as error:  # noqa: BLE001 - the library has errors of many kinds
            raise Tampered(f"the seal of a reply is not the server's: {_told(error)}") from None
        if not opened.encrypted:
            raise Tampered("a reply was signed and not sealed")
        return bytes(opened.buffers[1].data or b"")


def not_ours(error: Exception, service: str) -> NotAuthenticated:
    """Return what it means that the system makes no context."""
    return NotAuthenticated(
        "",
        f"the system has no way to prove to {service} who this server runs as: {_told(error)}",
        "run it as an account of the domain (a gMSA, say), and look at `klist`; or use a keytab",
    )


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
