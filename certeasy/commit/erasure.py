"""What the log has about a person, and how it is made unreadable.

Whatever is personal in a line is sealed under the key of a *subject*: an account, or an
administrator at one command. A contact, a network address or an administrator's name stands for
every subject in whose sealed data it is found; what was erased is not found by it any more.
"""

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from certeasy.commit.command import Command
from certeasy.commit.committer import Committer
from certeasy.commit.subjects import Subjects
from certeasy.decide.decision import Decision
from certeasy.ids import ALPHABET, ID_LENGTH, Ids
from certeasy.store import Store
from events.envelope import Actor, Record, parse
from events.sealing import KEY_LENGTH, Sealed
from events.subjects import SubjectErased
from projections.accounts import ACCOUNTS, VALID

SUBJECT, CONTACT, ADDRESS, ADMINISTRATOR = "subject", "contact", "address", "administrator"
AT_ONCE = 200  # subjects erased in one transaction
TOLD = 1000  # lines between two words about progress
_SEALED = b'"subject":"'
_ID = re.compile(f"[{ALPHABET}]{{{ID_LENGTH}}}")
_MAILTO = "mailto:"
_NAMED = ("account/", "administrator/")

Progress = Callable[[int], None]


class Wanted(msgspec.Struct, frozen=True):
    """Whom a command is about: `kind` says what `value` is."""

    kind: str
    value: str


class Said(msgspec.Struct, frozen=True):
    """Something sealed in a line. `where` is `actor` or the member of `data` that it stands in;
    `clear` is None where no key opens it."""

    subject: str
    where: str
    clear: str | None


class Mention(msgspec.Struct, frozen=True):
    """A line about subjects; `at` is RFC 3339 in UTC. A subject that a line only names has nothing
    `said` there."""

    position: int
    at: str
    type: str
    stream: str
    subjects: tuple[str, ...]
    said: tuple[Said, ...]


class Standing(msgspec.Struct):
    """How a subject stands: lines about it, what is sealed in them, how much of that can be read,
    and where it was erased last (0: never)."""

    subject: str
    lines: int = 0
    sealed: int = 0
    readable: int = 0
    erased: int = 0
    erased_at: str = ""

    @property
    def is_erased(self) -> bool:
        """Whether it was erased, and nothing can be read that was said before or since."""
        return self.erased > 0 and not self.readable


def wanted(text: str) -> Wanted:
    """Return whom a word on the command line means.

    account/ID, administrator/ID or an account's id alone; a contact (with or without `mailto:`); an
    IP address; anything else is an administrator's name.
    """
    if text.startswith(_NAMED):
        return Wanted(SUBJECT, text)
    if _ID.fullmatch(text):
        return Wanted(SUBJECT, f"account/{text}")
    if "@" in text:
        contact = text.lower()
        return Wanted(CONTACT, contact if contact.startswith(_MAILTO) else _MAILTO + contact)
    address = _address(text)
    return Wanted(ADMINISTRATOR, text) if address is None else Wanted(ADDRESS, address)


def subjects_of(
    store: Store, subjects: Subjects, whom: Wanted, progress: Progress = lambda _done: None
) -> tuple[str, ...]:
    """Return the subjects that are meant, in the order in which the log first speaks of them.

    Raises as `events.parse` and `Record.event` do for a line that is broken or from the future.
    """
    if whom.kind == SUBJECT:
        return (whom.value,)
    found: dict[str, None] = {}
    for line in _watched(store.lines(0), progress):
        if _SEALED in line:
            said = said_in(parse(line), subjects)
            found |= {each.subject: None for each in said if _is_meant(whom, each)}
    return tuple(found)


def mentions(
    store: Store,
    subjects: Subjects,
    meant: Sequence[str],
    progress: Progress = lambda _done: None,
) -> Iterator[Mention]:
    """Yield the lines that have something sealed about subjects, or name them, by position."""
    if not meant:
        return
    ids = {subject.rpartition("/")[2]: subject for subject in meant}
    about = re.compile(rb'[/"](' + b"|".join(re.escape(each.encode()) for each in ids) + rb')"')
    for line in _watched(store.lines(0), progress):
        named = {ids[found.decode()] for found in about.findall(line)}
        if named:
            record = parse(line)
            said = tuple(each for each in said_in(record, subjects) if each.subject in named)
            place = record.envelope
            yield Mention(
                place.position, place.at, place.type, place.stream, tuple(sorted(named)), said
            )


def standings(meant: Sequence[str], found: Iterable[Mention]) -> list[Standing]:
    """Count what mentions say about each subject; those that no line names are left out."""
    every = {subject: Standing(subject) for subject in meant}
    for mention in found:
        for subject in mention.subjects:
            every[subject].lines += 1
            if mention.type == "subject.erased" and mention.stream == subject:
                every[subject].erased, every[subject].erased_at = mention.position, mention.at
        for said in mention.said:
            every[said.subject].sealed += 1
            every[said.subject].readable += said.clear is not None
    return [standing for standing in every.values() if standing.lines]


def erase(
    committer: Committer,
    store: Store,
    ids: Ids,
    actor: Actor,
    subjects: Iterable[str],
    *,
    actor_key: tuple[tuple[str, bytes], ...] = (),
    kept: Subjects | None = None,
) -> None:
    """Destroy the keys of subjects, each with its `subject.erased` in the same transaction.

    An account that goes on living gets a new key there: it seals what is said about it from then
    on, and opens nothing of before. `actor_key` seals the actor's name and is stored with the first
    of them; `kept` are the keys that a running server holds, which forgets these. Raises what
    `Committer.submit` and `Store.scrub` do.
    """
    waiting, gone = iter(subjects), list[bytes]()
    while page := tuple(itertools.islice(waiting, AT_ONCE)):
        gone += [key for subject in page if (key := store.subject_key(subject)) is not None]
        keys = tuple((each, ids.random(KEY_LENGTH)) for each in page if _lives(committer, each))
        committer.submit(_erasing(page, (*actor_key, *keys), actor))
        actor_key = ()
        if kept is not None:
            kept.forget(page)
    store.scrub(gone)


def _erasing(page: tuple[str, ...], keys: tuple[tuple[str, bytes], ...], actor: Actor) -> Command:
    decision = Decision(tuple((subject, SubjectErased(subject)) for subject in page))
    return Command(lambda _rows, _now: decision, actor, subject_keys=keys, erased=page)


def _lives(committer: Committer, subject: str) -> bool:
    kind, _, name = subject.partition("/")
    account = committer.get(ACCOUNTS, name) if kind == "account" else None
    return account is not None and account.status == VALID


def said_in(record: Record, subjects: Subjects) -> tuple[Said, ...]:
    """Return everything that is sealed in a line."""
    fact, actor = record.event, record.actor
    members = [("actor", actor.sealed)]
    members += [(name, getattr(fact, name)) for name in fact.__struct_fields__]
    return tuple(
        Said(sealed.subject, where, _clear(sealed, subjects))
        for where, sealed in members
        if isinstance(sealed, Sealed)
    )


def _clear(sealed: Sealed, subjects: Subjects) -> str | None:
    try:
        clear = subjects.open(sealed)
    except (TypeError, ValueError):  # what stands in the table is no key
        return None
    return None if clear is None else clear.decode(errors="replace")


def _is_meant(whom: Wanted, said: Said) -> bool:
    if said.clear is None:
        return False
    match whom.kind:
        case "contact":
            return said.where == "contact" and whom.value in _contacts(said.clear)
        case "address":
            if said.where == "address":
                return _covers(said.clear, whom.value)
            return said.where == "actor" and _address(_origin(said.clear)) == whom.value
        case _:
            return said.subject.startswith("administrator/") and said.clear == whom.value


def _contacts(clear: str) -> tuple[str, ...]:
    return tuple(each.lower() for each in msgspec.json.decode(clear, type=tuple[str, ...]))


class _Origin(msgspec.Struct):
    address: str = ""


def _origin(clear: str) -> str:
    """Return the address that a request came from; of an administrator's name, nothing."""
    try:
        return msgspec.json.decode(clear, type=_Origin).address
    except msgspec.DecodeError:
        return ""


def _covers(network: str, address: str) -> bool:
    """Whether an address is the one that is said, or in the network."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _watched(lines: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for done, line in enumerate(lines, start=1):
        yield line
        if done % TOLD == 0:
            progress(done)
