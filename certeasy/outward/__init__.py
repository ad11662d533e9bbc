"""Connections to servers that the operator has named: where notices go, and another CA's server.

The name is the operator's own word, so that inner addresses need no permission. Where it leads to
is the DNS's word, and that is held against the address policy (`certeasy.validate.addresses`):

1. A name is resolved once, by the system, as all other programs here do. The connection goes to an
   address that passed, never to the name.
2. A name does not lead to this machine, to link-local addresses (the clouds' metadata services) or
   other special ones, unless an allow-cidr within that range opens it.
3. An address that is written in the place of the name, and `localhost`, are the operator's own
   word: they need no allow-cidr. A deny-cidr counts for them, too. In a link that another server
   has sent they are that one's word, and need one.
4. Under TLS, the other side shows a certificate for the name (or the address), by one of the
   system's roots, or by one of a file that takes their place. There is no way to do without.
5. No redirect; everything ends at a deadline; of an answer only so much is read.
6. No proxy but one that the operator has named, for https alone. Then rules 1 to 3 are for the
   proxy's name, and it is the proxy that resolves the server's: rule 4 says whether it is that one.
"""

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from certeasy.settings import DnsProfile, IpPolicy, Network
from certeasy.validate import wire
from certeasy.validate.ask import Seen, Unresolved
from certeasy.validate.reach import Reach, Stop, Trail
from certeasy.validate.wire import Deadline

__all__ = ["Deadline", "Outward", "Reply", "Unreached", "shown"]

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
PORTS = {"http": 80, "https": 443}
PASSWORD = 407


class Unreached(Exception):
    """Nobody was reached, or nobody answered: one line for an operator, without a secret in it."""


class Reply(msgspec.Struct, frozen=True):
    """An HTTP answer; `headers` are by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


class Outward:
    """The way to one server. It may be used again and again, by one thread at a time."""

    def __init__(
        self,
        policy: IpPolicy,
        timeout: timedelta,
        ca_file: Path | None,
        proxy: str | None = None,
    ) -> None:
        """`timeout` is that of a whole exchange; `ca_file` has the roots that are believed, None:
        the system's; `proxy` is the URL of one that `exchange` goes through."""
        self._policy = policy
        self._timeout = timeout
        self._ca_file = ca_file
        self._proxy = proxy

    def deadline(self) -> Deadline:
        """Return the end of an exchange that begins now."""
        return Deadline(self._timeout.total_seconds())

    def connect(
        self, host: str, port: int, deadline: Deadline, *, is_own_word: bool = True
    ) -> socket.socket:
        """Return a TCP connection to a host: rules 1 to 3. Raises Unreached."""
        allowed = (*self._policy.allow_cidrs, *(_own_word(host) if is_own_word else ()))
        profile = DnsProfile(
            name="outward",
            timeout=self._timeout,
            resolved_ip_policy=msgspec.structs.replace(self._policy, allow_cidrs=allowed),
        )
        try:
            return Reach(profile, _System()).connect(host, port, Trail(), deadline)
        except Stop as stop:
            raise Unreached(str(stop)) from None
        except TimeoutError:
            raise Unreached(f"{host} port {port} did not answer in time") from None

    def context(self) -> ssl.SSLContext:
        """Return what is believed of certificates, read anew: rule 4. Raises Unreached."""
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except (OSError, ssl.SSLError) as error:
            what = f"ca-file {self._ca_file} cannot be used: {wire.words(error)}"
            raise Unreached(what) from None

    def secured(self, connection: socket.socket, host: str, deadline: Deadline) -> socket.socket:
        """Return the connection under TLS: rule 4. It is closed where that fails: Unreached."""
        try:
            connection.settimeout(deadline.left())
            return self.context().wrap_socket(connection, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Unreached(f"{host}: its certificate is not believed: {_why(error)}") from None
        except TimeoutError:
            connection.close()
            raise Unreached(f"{host}: TLS was not set up in time") from None
        except (OSError, ValueError) as error:
            connection.close()
            raise Unreached(f"{host}: TLS was not set up: {wire.words(error)}") from None
        except BaseException:  # of whatever kind: nobody else could close it
            connection.close()
            raise

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most: int = wire.MAX_BODY,
        *,
        is_own_word: bool = True,
    ) -> Reply:
        """Send a request (not HEAD) and return the answer, with so many bytes of its body at most;
        a larger one is refused. `is_own_word`: the host is one that the operator wrote: rule 3.
        Raises Unreached, which names the host alone: more of a URL may be a secret."""
        parts = urlsplit(url)
        host, deadline = parts.hostname or "", self.deadline()
        request = _request(method, parts, headers or {}, body)
        if self._proxy is None:
            connection = self.connect(host, _port(parts), deadline, is_own_word=is_own_word)
        else:
            connection = self._through(urlsplit(self._proxy), parts, deadline)
        if parts.scheme == "https":
            connection = self.secured(connection, host, deadline)
        with connection:
            try:
                answer = wire.exchange(connection, request, deadline, most)
            except wire.Unanswered as fault:
                raise Unreached(f"{shown(url)} {fault}") from None
        if answer.cut:
            raise Unreached(f"{shown(url)} sent an answer of more than {most} bytes")
        return Reply(answer.status, answer.headers, answer.body)

    def _through(self, proxy: SplitResult, parts: SplitResult, deadline: Deadline) -> socket.socket:
        """Return a connection to a server by way of a proxy: rule 6. Raises Unreached."""
        if parts.scheme != "https":
            raise Unreached(
                f"{shown(parts.geturl())} is not reached through a proxy: it is no https"
            )
        named = f"the proxy {shown(proxy.geturl())}"
        try:
            connection = self.connect(proxy.hostname or "", _port(proxy), deadline)
        except Unreached as fault:
            raise Unreached(f"the proxy is not reached: {fault}") from None
        try:
            status = wire.tunnel(connection, f"{_host(parts)}:{_port(parts)}", deadline)
        except wire.Unanswered as fault:
            connection.close()
            raise Unreached(f"{named} {fault}") from None
        except BaseException:
            connection.close()
            raise
        if status // 100 == wire.OK // 100:
            return connection
        connection.close()
        why = ", it wants a password, and none is sent" if status == PASSWORD else ""
        raise Unreached(
            f"{named} opens no way to {shown(parts.geturl())}: it answers {status}{why}"
        )


def shown(url: str) -> str:
    """Return as much of a URL as may be told: whom it leads to."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{_authority(parts)}"


class _System:
    """Names as this machine resolves them."""

    def addresses(self, name: str, seen: Seen) -> tuple[str, ...]:
        """Return the addresses of a name. Raises Unresolved."""
        del seen
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unresolved(f"{name} could not be resolved: {wire.words(error)}") from None
        return tuple(dict.fromkeys(str(each[4][0]) for each in found))


def _own_word(host: str) -> tuple[Network, ...]:
    """Return what a host opens by being written so: rule 3."""
    if host == "localhost":
        return LOOPBACK
    try:
        return (ipaddress.ip_network(host),)
    except ValueError:
        return ()


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS[parts.scheme]


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _authority(parts: SplitResult) -> str:
    host = _host(parts)
    return host if _port(parts) == PORTS[parts.scheme] else f"{host}:{_port(parts)}"


def _request(method: str, parts: SplitResult, headers: Mapping[str, str], body: bytes) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = {
        "Host": _authority(parts),
        "User-Agent": "certeasy",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    if body or method == "POST":
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _why(error: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with a certificate, in OpenSSL's words."""
    return error.verify_message or wire.words(error)
