"""The http-01 challenge: fetch a file that only the holder of the name can have put there.

RFC 8555 section 8.3:

    http://NAME[:http-01-port]/.well-known/acme-challenge/TOKEN   ->   200, the key authorization

What is kept at every hop, redirects included:

1. Only http and https, only to ports 80, 443 and the profile's own, no user names in the URL.
2. The name is resolved once, and the connection goes to an address that the policy allows, never
   to the name.
3. IPv6 is tried first, then IPv4: `certeasy.validate.reach`.
4. A certificate met on the way proves nothing and is not looked at.
5. At most 10 redirects, no circle; a look-up, a connection, an answer each end after the profile's
   timeout (a look-up after twice that), the whole after three times that; no proxy, no cookie, no
   second request on a connection.
6. What a server says is never repeated, in a problem or in the evidence: not its pages, not its
   headers, no parameter of a URL that it redirects to. Its answer is told by its status and its
   kind.
"""

import hashlib
import hmac
import re
import socket
import ssl
from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

import msgspec

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile
from certeasy.validate import Asked, Evidence, Failed, Validated, wire
from certeasy.validate.reach import Reach, Resolves, Stop, Trail, late

WELL_KNOWN = "/.well-known/acme-challenge/"
MAX_REDIRECTS = 10
MAX_URL = 1024
SHOWN_URL = 200
DEFAULT_PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
PASSING_STATUS = (502, 503, 504)
OK = 200
CODINGS = ("gzip", "deflate", "br", "zstd", "compress")
ENCODED = "a content-encoding that nobody knows"
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?|[0-9a-f:.]*:[0-9a-f:.]*")
OTHER_THUMBPRINT = re.compile(rb"\.[A-Za-z0-9_-]{43}")
PARAMETERS = re.compile(r"[?;]")
"""What follows these in a URL is not kept."""
VISIBLE = re.compile(r"[!-~]+")


class Hop(msgspec.Struct, frozen=True):
    """One URL to fetch, checked: rule 1 holds."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own. RFC 9112 section 3.2."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The hop as a URL."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def place(self) -> str:
        """The URL as it may be kept: a session's id in it is nobody else's business."""
        shown = PARAMETERS.search(self.url)
        return self.url[: shown.end()] + "..." if shown else self.url

    def __str__(self) -> str:
        """Return the URL as a problem's detail shows it, cut short."""
        return self.place if len(self.place) <= SHOWN_URL else self.place[:SHOWN_URL] + "..."


class _Trail(Trail):
    """What one validation has seen so far; becomes its evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.hops: list[Hop] = []
        self.status = 0
        self.excerpt = ""

    def evidence(self) -> Evidence:
        return msgspec.structs.replace(
            super().evidence(),
            urls=tuple(hop.place for hop in self.hops),
            status=self.status,
            excerpt_sha256=self.excerpt,
        )


class Http01Validator:
    """Validates http-01 as one DNS profile says. One instance serves all threads."""

    def __init__(
        self,
        profile: DnsProfile,
        resolver: Resolves,
        *,
        redirect_ports: Iterable[int] = tuple(DEFAULT_PORTS.values()),
    ) -> None:
        self._reach = Reach(profile, resolver)
        self._port = profile.http_01_port
        self._ports = frozenset((*redirect_ports, profile.http_01_port))
        self._tls = _unverified_tls()

    def validate(self, asked: Asked) -> Validated | Failed:
        """Fetch the challenge of a name and compare it. RFC 8555 section 8.3.

        Blocks for at most five times the profile's timeout: rule 5, and a look-up that began just
        before.
        """
        name, token, key_authorization = asked.name, asked.token, asked.key_authorization
        trail = _Trail()
        try:
            answer, hop = self._follow(Hop("http", name, self._port, WELL_KNOWN + token), trail)
            _compare(answer, hop, trail, token, key_authorization)
        except Stop as stop:
            return Failed(stop.problem, str(stop), trail.evidence(), stop.transient)
        return Validated(trail.evidence())

    def _follow(self, hop: Hop, trail: _Trail) -> tuple[wire.Answer, Hop]:
        """Return the first answer that is no redirect, and the hop that gave it."""
        deadline = self._reach.deadline()
        for _ in range(MAX_REDIRECTS + 1):
            trail.hops.append(hop)
            answer = self._fetch(hop, trail, deadline)
            if answer.status not in REDIRECTS:
                return answer, hop
            hop = self._redirected(hop, answer.location)
            if hop in trail.hops:
                raise Stop(Problem.INCORRECT_RESPONSE, f"redirected in a circle, to {hop}")
        raise Stop(
            Problem.INCORRECT_RESPONSE, f"more than {MAX_REDIRECTS} redirects, the last to {hop}"
        )

    def _redirected(self, hop: Hop, location: str) -> Hop:
        """Check where a redirect leads: rule 1. Raises Stop."""
        try:
            following = _parsed(hop, location)
        except ValueError as fault:
            detail = f"{hop} redirected to something that {fault}"
            raise Stop(Problem.INCORRECT_RESPONSE, detail) from None
        if following.port not in self._ports:
            ports = ", ".join(str(allowed) for allowed in sorted(self._ports))
            detail = f"{hop} redirected to {following}; only ports {ports} are connected to"
            raise Stop(Problem.CONNECTION, detail)
        return following

    def _fetch(self, hop: Hop, trail: _Trail, deadline: wire.Deadline) -> wire.Answer:
        """Resolve, check, connect, ask: rules 2 to 4. Raises Stop."""
        trail.status, trail.excerpt = 0, ""
        connection = self._reach.connect(hop.host, hop.port, trail, deadline)
        if hop.scheme == "https":
            connection = self._secured(connection, hop, trail, deadline)
        with connection:
            try:
                step = wire.Deadline(self._reach.step(deadline))
                answer = wire.get(connection, hop.authority, hop.target, step)
            except TimeoutError:
                raise late(hop.host) from None
            except wire.Unanswered as fault:
                detail = f"{hop}: {trail.address} port {hop.port} {fault}"
                raise Stop(fault.problem, detail, transient=fault.transient) from fault
        trail.status = answer.status
        trail.excerpt = hashlib.sha256(answer.body).hexdigest()
        return answer

    def _secured(
        self, connection: socket.socket, hop: Hop, trail: _Trail, deadline: wire.Deadline
    ) -> socket.socket:
        """Return the connection with TLS over it, whoever is at the other end: rule 4."""
        where = f"{hop}: TLS with {trail.address} port {hop.port}"
        try:
            connection.settimeout(self._reach.step(deadline))
            return self._tls.wrap_socket(connection, server_hostname=hop.host)
        except TimeoutError:
            connection.close()
            raise Stop(Problem.TLS, f"{where} was not set up in time", transient=True) from None
        except (OSError, ValueError) as error:
            connection.close()
            raise Stop(Problem.TLS, f"{where} failed ({wire.words(error)})") from error


def _parsed(hop: Hop, location: str) -> Hop:
    """Return where a Location header leads from `hop`. Raises ValueError: it "is ..."."""
    try:
        url = urlsplit(urljoin(hop.url, location))
        port = DEFAULT_PORTS.get(url.scheme, 0) if url.port is None else url.port
    except ValueError:
        raise ValueError("is no URL") from None
    host = url.hostname or ""
    if not VISIBLE.fullmatch(location):
        raise ValueError("is no URL")
    if url.scheme not in DEFAULT_PORTS or url.username is not None or not HOST.fullmatch(host):
        raise ValueError("is not an http or https URL of a host")
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    following = Hop(url.scheme, host.rstrip("."), port, target)
    if len(following.url) > MAX_URL:
        raise ValueError(f"is longer than {MAX_URL} characters")
    return following


def _compare(
    answer: wire.Answer, hop: Hop, trail: _Trail, token: str, key_authorization: str
) -> None:
    """Hold the answer against the key authorization. Raises Stop with what was there instead."""
    where = f"{hop} ({trail.address} port {hop.port})"
    kind = wire.kind(answer.body, cut=answer.cut)
    if answer.status != OK:
        raise Stop(
            Problem.INCORRECT_RESPONSE,
            f"{where} answered with status {answer.status}, not {OK}; the body is {kind}",
            transient=answer.status in PASSING_STATUS,
        )
    # Trailing white space is the client's editor, not its intent. RFC 8555 section 8.3.
    body, expected = answer.body.rstrip(), key_authorization.encode("ascii")
    if not answer.cut and hmac.compare_digest(body, expected):
        return
    coding = answer.encoding.lower()
    if coding not in ("", "identity"):
        hint = f"it has {f'the content-encoding {coding}' if coding in CODINGS else ENCODED}"
    elif expected in body:
        hint = f"it has more in it than that: {kind}"
    elif OTHER_THUMBPRINT.fullmatch(body.removeprefix(token.encode("ascii"))):
        raise Stop(
            Problem.UNAUTHORIZED,
            f"{where} shows this challenge's token with the thumbprint of another account key",
        )
    else:
        hint = f"it is {kind}"
    raise Stop(Problem.INCORRECT_RESPONSE, f"{where} is not the key authorization: {hint}")


def _unverified_tls() -> ssl.SSLContext:
    """Return a client context that takes any certificate: the host may have no good one yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # A small key or an old signature is no worse than the unknown certificate that is taken anyway.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context
