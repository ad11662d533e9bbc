"""One question to DNS servers: asked by UDP or TCP, of one after the other, until one answers.

1. An answer counts if it comes from the address that was asked, has the question's id and repeats
   the question; what else arrives (wrong ids, other sources, rubbish) is passed over.
2. A truncated answer is asked for again by TCP, of the same server.
3. NOERROR and NXDOMAIN are answers. A server that says anything else, refuses the connection or
   sends rubbish by TCP is not asked again; one that is silent is asked again while there is time.
4. Everything ends with the deadline; an answer has at most 64 KiB, whatever the sender wants.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

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
MAX_STEPS = 200
"""Exchanges of one look-up that are kept for those who want to see them."""

Kind = dns.rdatatype.RdataType


class Server(msgspec.Struct, frozen=True):
    """Where a DNS server listens."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        """Return it as ADDRESS:PORT."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Question(msgspec.Struct, frozen=True):
    """What is asked, and how: of a server that asks others in turn, with signatures or without."""

    name: dns.name.Name
    kind: Kind
    recurse: bool = True
    signed: bool = False
    tcp: bool = False

    def __str__(self) -> str:
        """Return it as `TXT name`."""
        return f"{dns.rdatatype.to_text(self.kind)} {shown(self.name)}"

    def message(self) -> dns.message.QueryMessage:
        """Return it as a message with a new id.

        With signatures the server is asked not to check them (CD): it would keep back what it does
        not believe, and nobody could tell a forgery from an outage. RFC 6840 section 5.9.
        """
        query = dns.message.make_query(self.name, self.kind, want_dnssec=self.signed)
        if self.signed:
            query.flags |= dns.flags.CD
        if not self.recurse:
            query.flags &= ~dns.flags.RD
        return query


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
        self.zones: list[str] = []
        """The zones whose own servers were asked."""
        self.servers: list[str] = []
        """Who gave an answer that counts."""
        self.rcode = ""
        """The last answer's code, such as NXDOMAIN."""
        self.signed_by: list[str] = []
        """The zones whose keys signed what was found, up to an anchor."""
        self.steps: list[str] = []
        """Every exchange, in words."""

    def step(self, words: str) -> None:
        """Note what was done."""
        if len(self.steps) < MAX_STEPS:
            self.steps.append(words)

    def answered(self, question: Question, server: Server, reply: dns.message.Message) -> None:
        """Note an answer."""
        self.rcode = dns.rcode.to_text(reply.rcode())
        records = sum(len(rrset) for rrset in reply.answer)
        many = "1 record" if records == 1 else f"{records} records"
        self.step(f"{question}: {server} says {self.rcode}, {many}")

    def believed(self, server: Server) -> None:
        """Note that an answer counts."""
        if str(server) not in self.servers:
            self.servers.append(str(server))


def ask(
    question: Question,
    servers: Sequence[Server],
    deadline: Deadline,
    seen: Seen,
    patience: float = PATIENCE,
) -> dns.message.Message:
    """Return the first answer to a question. Raises Unresolved (transient) if there is none."""
    left = list(servers)
    said: list[str] = []
    while left:
        for server in tuple(left):
            time_left = _left(deadline)
            if not time_left:
                raise _unanswered(question, said)
            outcome = exchange(question, server, min(time_left, patience), seen)
            if outcome is None:
                continue
            if isinstance(outcome, str):
                left.remove(server)
                said.append(outcome)
            else:
                seen.believed(server)
                return outcome
    raise _unanswered(question, said)


def ask_each(
    question: Question,
    servers: Sequence[Server],
    deadline: Deadline,
    seen: Seen,
    patience: float = PATIENCE,
) -> Iterator[tuple[Server, dns.message.Message]]:
    """Yield the answer of each of some servers, each asked once; fewer if the time runs out.

    None is waited for longer than its share of the time that is left: a silent one is no reason
    not to ask those after it.
    """
    for n, server in enumerate(servers):
        share = _left(deadline) / (len(servers) - n)
        if not share:
            return
        outcome = exchange(question, server, min(share, patience), seen)
        if isinstance(outcome, dns.message.Message):
            yield server, outcome


def exchange(
    question: Question, server: Server, seconds: float, seen: Seen
) -> dns.message.Message | str | None:
    """Send one question to one server: rules 1 to 3.

    Return its answer; what it says in the place of one; or None if it is silent.
    """
    try:
        reply = _exchanged(question, server, Deadline(seconds))
    except (TimeoutError, dns.exception.Timeout):
        seen.step(f"{question}: {server} does not answer in time")
        return None
    except (OSError, EOFError, dns.exception.DNSException) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        seen.step(f"{question}: {server} cannot be asked ({said})")
        return said
    seen.answered(question, server, reply)
    return reply if reply.rcode() in ANSWERS else dns.rcode.to_text(reply.rcode())


def shown(name: dns.name.Name | str) -> str:
    """Return a name as it may be told: one with bytes in it that no host's has is not repeated."""
    text = (name if isinstance(name, str) else name.to_text(omit_final_dot=True)).lower()
    return text if HOST_NAME.fullmatch(text) else "(no host name)"


def _exchanged(question: Question, server: Server, deadline: Deadline) -> dns.message.Message:
    query = question.message()
    if not question.tcp:
        try:
            return dns.query.udp(
                query,
                server.address,
                timeout=deadline.left(),
                port=server.port,
                ignore_unexpected=True,
                ignore_errors=True,
                raise_on_truncation=True,
            )
        except dns.message.Truncated:
            pass
    return dns.query.tcp(query, server.address, timeout=deadline.left(), port=server.port)


def _left(deadline: Deadline) -> float:
    """Return the seconds left, none once it is over."""
    try:
        return deadline.left()
    except TimeoutError:
        return 0.0


def _unanswered(question: Question, said: Iterable[str]) -> Unresolved:
    """Return that nobody answered, and what those said who did not."""
    words = ", ".join(sorted(set(said)))
    what = f"DNS answered {words}" if words else "no DNS server answered in time"
    kind = dns.rdatatype.to_text(question.kind)
    return Unresolved(
        f"{shown(question.name)} could not be looked up: {what}; asked for {kind}", transient=True
    )
