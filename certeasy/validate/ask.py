"""One question to DNS servers: asked by UDP or TCP, of one after the other, until one answers.

1. An answer counts if it comes from the address that was asked, has the question's id and repeats
   the question; what else arrives (wrong ids, other sources, rubbish) is passed over.
2. A truncated answer is asked for again by TCP, of the same server.
3. NOERROR and NXDOMAIN are answers. A server that says anything else, refuses the connection or
   sends rubbish by TCP is not asked again; one that is silent is asked again while there is time.
4. Everything ends with the deadline; an answer has at most 64 KiB, whatever the sender wants.
"""

import re
from collections.abc import Iterable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import msgspec

from certeasy.validate.wire import Deadline

PATIENCE = 2.0
"""Seconds that one server is waited for before the next one is asked."""
ANSWERS = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
HOST_NAME = re.compile(r"[a-z0-9_.-]{1,253}")


class Server(msgspec.Struct, frozen=True):
    """Where a DNS server listens."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        """Return it as ADDRESS:PORT."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Unresolved(Exception):
    """A name leads nowhere. `str()` says why in one line; `transient`: asking again may help."""

    def __init__(self, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.transient = transient


class Seen:
    """What a look-up has met so far, kept also when it fails."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """The names asked for, the first first; each is an alias of the next one."""
        self.servers: list[str] = []
        """Who gave an answer that counts."""
        self.rcode = ""
        """The last answer's code, such as NXDOMAIN."""

    def answered(self, server: Server, reply: dns.message.Message) -> None:
        """Note an answer."""
        if str(server) not in self.servers:
            self.servers.append(str(server))
        self.rcode = dns.rcode.to_text(reply.rcode())


def ask(
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
    servers: Sequence[Server],
    deadline: Deadline,
    seen: Seen,
    *,
    tcp: bool = False,
    patience: float = PATIENCE,
) -> dns.message.Message:
    """Return the first answer to a question. Raises Unresolved (transient) if there is none."""
    left = list(servers)
    said: list[str] = []
    while left:
        for server in tuple(left):
            try:
                reply = exchange(_question(name, kind), server, deadline.left(patience), tcp=tcp)
            except (TimeoutError, dns.exception.Timeout):
                if _is_over(deadline):
                    raise _unanswered(name, kind, said) from None
                continue
            except (OSError, EOFError, dns.exception.DNSException) as error:
                left.remove(server)
                said.append(_words(error))
                continue
            seen.answered(server, reply)
            if reply.rcode() in ANSWERS:
                return reply
            left.remove(server)
            said.append(dns.rcode.to_text(reply.rcode()))
    raise _unanswered(name, kind, said)


def exchange(
    query: dns.message.Message, server: Server, seconds: float, *, tcp: bool
) -> dns.message.Message:
    """Send one question to one server and return its answer, whole: rules 1 and 2.

    Raises dns.exception.Timeout, OSError, EOFError or another DNSException.
    """
    deadline = Deadline(seconds)
    if not tcp:
        try:
            return dns.query.udp(
                query,
                server.address,
                timeout=seconds,
                port=server.port,
                ignore_unexpected=True,
                ignore_errors=True,
                raise_on_truncation=True,
            )
        except dns.message.Truncated:
            pass
    return dns.query.tcp(query, server.address, timeout=deadline.left(), port=server.port)


def shown(name: dns.name.Name | str) -> str:
    """Return a name as it may be told: one with bytes in it that no host's has is not repeated."""
    text = (name if isinstance(name, str) else name.to_text(omit_final_dot=True)).lower()
    return text if HOST_NAME.fullmatch(text) else "(no host name)"


def _question(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
    """Return a question with an id of its own, for a server that asks others in turn."""
    return dns.message.make_query(name, kind)


def _is_over(deadline: Deadline) -> bool:
    try:
        deadline.left()
    except TimeoutError:
        return True
    return False


def _words(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__name__


def _unanswered(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, said: Iterable[str]
) -> Unresolved:
    """Return that nobody answered, and what those said who did not."""
    words = ", ".join(sorted(set(said)))
    what = f"DNS answered {words}" if words else "no DNS server answered in time"
    return Unresolved(
        f"{shown(name)} could not be looked up: {what}; asked for {dns.rdatatype.to_text(kind)}",
        transient=True,
    )
