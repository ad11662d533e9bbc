"""What `certeasy doctor` looks at in the database and the workdir: is this the node that it was,
and do its journal and the database tell one story?

It reads, beside a running server or without one. What is written meanwhile is no contradiction:
the journal is never ahead of the database, and at most one batch behind.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certeasy import config
from certeasy.ca.adcs.findings import Finding
from certeasy.cluster import boot, identity
from certeasy.cluster.identity import Identity
from certeasy.cluster.refusal import BootRefused
from certeasy.cluster.secrets import KEY_LENGTH, Secrets
from certeasy.commit import probe, segments
from certeasy.commit.batch import LINES
from certeasy.commit.keys import read_keys
from certeasy.commit.probe import Found, ProbeRefused
from certeasy.commit.segments import SegmentRefused
from certeasy.config.mistakes import quoted
from certeasy.decide import license as deciding
from certeasy.decide.license import EVALUATING, VALID
from certeasy.ids import Ids
from certeasy.licensing import banner
from certeasy.licensing.ahead import ahead
from certeasy.licensing.terms import Terms
from certeasy.settings import Settings, root_file
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.databases import place_of
from certeasy.store.replication import Replica
from certeasy.store.schema import FORMAT
from events.counting import counted
from events.envelope import BrokenLine, parse
from journal.file import read_tail
from journal.segments import closed_segments
from projections.fold import VERSION
from projections.license import UNLIMITED
from projections.nodes import NODES

ENDING = timedelta(days=30)
"""What of the license ends within this time is worth a word."""
_NAMED = 10
APART = 5.0  # seconds between this clock and the database's that are worth a word


def database(settings: Settings, store: Store) -> Iterator[Finding]:
    """It is there, fit for a log, and of this version's format."""
    name = place_of(settings.database)
    fitness = store.fitness()
    version = f", version {fitness.version}, schema {fitness.schema}" if fitness.version else ""
    for refusal in fitness.refusals:
        yield Finding("database", "fail", f"{name}{version} cannot be used: {refusal}")
    for warning in fitness.warnings:
        yield Finding("database", "warn", f"{name}: {warning}")
    if fitness.refusals:
        return
    if store.is_empty():
        text = f"{name}{version} has no tables yet: the first start makes them"
        if settings.database.noddl:
            remedy = "have the DBA run what 'certeasy migrate --sql -f config.yml' prints"
            yield Finding("database", "fail", f"{name}{version} has no tables", remedy)
            return
        yield Finding("database", "ok", text)
        return
    head = store.head()
    if not _is_time(head.at):
        text = f"{name}{version}: log_head.at is {quoted(head.at)}, which is no time of a log"
        remedy = (
            "the row was changed: restore the database from a backup; 'certeasy audit verify -f"
            " config.yml' names all differences"
        )
        yield Finding("database", "fail", text, remedy)
        return
    said = f"{name}{version}: {counted(head.position, 'event')}, format {head.format}"
    if head.format > FORMAT:
        remedy = "run the version that wrote it, or a newer one"
        yield Finding("database", "fail", f"{said}, which this version does not know", remedy)
    elif head.format < FORMAT:
        remedy = "stop the server, 'certeasy migrate -f config.yml', start it"
        yield Finding("database", "warn", f"{said}, this version needs {FORMAT}", remedy)
    elif head.projections != VERSION:
        text = f"{said}; its tables are of another version, the next start folds them anew"
        yield Finding("database", "warn", text, "a start takes longer then; nothing else")
    else:
        yield Finding("database", "ok", said)


def _is_time(text: str) -> bool:
    """Whether this is how a log writes its time; an empty one has none."""
    try:
        return not text or datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


def license_(settings: Settings, store: Store, here: datetime) -> Iterator[Finding]:
    """It lets the server start, and new servers in; there is time left, and a seat."""
    head = store.head()
    if head.projections != VERSION:
        return
    now = max(here, datetime.fromisoformat(head.at)) if head.at else here
    terms = Terms(settings, head.installation_id)
    found, seats = terms.standing(store, now), store.seats(now)
    many = "any number" if found.seats == UNLIMITED else str(found.seats)
    until = f" until {found.until}" if found.until else ""
    why = "".join(f"; {reason}" for reason in found.reasons)
    text = f"{found.state}{until}, {counted(seats, 'managed server')} of {many}{why}"
    soon = found.until != "" and datetime.fromisoformat(found.until) - now <= ENDING
    full = found.seats != UNLIMITED and seats >= found.seats
    remedy = banner.advice(
        found, deciding.of(store), terms.installation, now, full=full and not soon
    )
    log = ahead(store, here)
    if log is not None and terms.standing(store, here).state != found.state:
        text += (
            f"; that is by the log's latest time, {log.span} ahead of this clock since {log.event}"
        )
        remedy = (
            "set this clock right if it is wrong; else docs/license.md, 'A clock that was ahead':"
            f" database and work directory from before event {log.position}, or a longer license"
        )
    if not found.serves:
        yield Finding("license", "fail", text, remedy)
        return
    if soon or full or found.state not in {EVALUATING, VALID}:
        yield Finding("license", "warn", text, remedy)
    else:
        yield Finding("license", "ok", text)


def bindings(settings: Settings, store: Store) -> Iterator[Finding]:
    """Other limits are for keys that there are: one that is misspelt holds for nobody."""
    if not settings.rate_limiting.overrides or store.head().projections != VERSION:
        return
    keys = store.eab_keys()
    comments = sorted({key.comment for key in keys if key.comment})
    known = {key.kid for key in keys}.union(comments)
    there = f"comments of keys are: {_listed(comments)}" if comments else "no key has a comment"
    remedy = "'certeasy eab list -f config.yml' shows the keys; name one by its id or comment"
    wrong = False
    for index, override in enumerate(settings.rate_limiting.overrides):
        if override.binding not in known:
            wrong = True
            key = f"rate-limiting.overrides[{index}].binding"
            text = f"{key}: {quoted(override.binding)} is id or comment of no key; {there}"
            yield Finding("limits", "warn", text, remedy)
    if not wrong:
        yield Finding("limits", "ok", "rate-limiting.overrides are all for keys that there are")


def _listed(words: Sequence[str]) -> str:
    listed = ", ".join(quoted(word) for word in words[:_NAMED])
    return listed if len(words) <= _NAMED else f"{listed} and {len(words) - _NAMED} more"


def rights(store: Store) -> Finding:
    """The server's user may add to the log, and not change it."""
    found = store.rights()
    if not found.known:
        return Finding("rights", "ok", "a file has none; whoever changes it is found out by others")
    how = "'certeasy migrate --sql --role NAME -f config.yml' prints grants for the DBA to run"
    if found.lacking:
        text = f"the database's user may not {' and '.join(found.lacking)} on events"
        return Finding("rights", "fail", text, how)
    if found.beyond:
        text = (
            f"the database's user may {' and '.join(found.beyond)} on events, which it never does"
        )
        return Finding("rights", "warn", text, how)
    return Finding("rights", "ok", "the database's user may read events and add to them, no more")


def replication(settings: Settings, store: Store) -> Finding:
    """No copy of the database can take its place that lacks what was acknowledged."""
    step = "replication"
    if settings.database.driver == "sqlite":
        return Finding(step, "ok", "a file is not copied by itself; are there backups of it?")
    found = store.replication()
    if not found.known:
        return Finding(step, "skipped", "not looked at on this kind of database")
    return _following(found.replicas)


def _following(replicas: Sequence[Replica]) -> Finding:
    step = "replication"
    hidden, behind, level = (
        ", ".join(each.name for each in replicas if each.synchronous is how)
        for how in (None, False, True)
    )
    if hidden:
        text = f"this user may not see how {hidden} follows the database"
        return Finding(step, "skipped", text, "GRANT pg_read_all_stats to the database's user")
    if not replicas:
        return Finding(step, "ok", "no copy follows the database now; are there backups of it?")
    if not level:
        text = f"{behind} follows asynchronously: promoted, it may lack what was acknowledged"
        return Finding(step, "warn", text, "synchronous_standby_names, see docs/databases.md")
    but = f"; do not promote {behind}, which may lack something" if behind else ""
    text = f"{level} follows synchronously: a fail-over to it loses nothing{but}"
    return Finding(step, "ok", text)


def clock(settings: Settings, store: Store, now: datetime) -> Iterator[Finding]:
    """This clock is not behind the log, and near the database's."""
    head = store.head()
    apart = now.timestamp() - head.now
    if abs(apart) > APART:
        text = f"this clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'}"
        yield Finding("clock", "warn", f"{text} the database's", "let both take their time by NTP")
    if not head.at:
        yield Finding("clock", "ok", "no event yet that it could be behind")
        return
    found = ahead(store, now)
    if found is None:
        latest = datetime.fromisoformat(head.at).astimezone(UTC)
        yield Finding("clock", "ok", f"the log's latest event is of {latest:%Y-%m-%d %H:%M:%S} UTC")
        return
    text = f"this clock is {found.by.total_seconds():.0f} s behind the log"
    since = f"the first event ahead of it is {found.event}"
    try:
        accepted = _is_accepted(store, head.at)
    except BrokenLine as error:
        text += (
            f"; whether that was accepted cannot be told, as the last clock.set-back in"
            f" {place_of(settings.database)} is no line of a log: {error}; {since}"
        )
        remedy = (
            "set this clock right; 'certeasy audit verify -f config.yml' names what was changed:"
            " restore the database from a backup"
        )
        yield Finding("clock", "fail", text, remedy)
        return
    if accepted:
        text += f", which was accepted: its time stands until the clock has passed it; {since}"
        yield Finding("clock", "warn", text, "wait, and see what 'license' says below")
        return
    remedy = "set it right; if the log's was wrong: 'certeasy clock accept -f config.yml'"
    yield Finding("clock", "fail", f"{text}: changes are refused; {since}", remedy)


def _is_accepted(store: Store, latest: str) -> bool:
    """Whether an administrator has accepted that the log's latest time is ahead of the clock.

    BrokenLine: the line that tells cannot be read.
    """
    line = store.last_of_type(
        "clock.set-back", [f"node/{each.server_id}" for each in store.servers()]
    )
    return line is not None and parse(line).envelope.at == latest


def secrets(settings: Settings, store: Store, ids: Ids) -> Finding:
    """The key file opens what is in the database."""
    file = settings.secrets.key_file
    if not store.has_secrets():
        return Finding("secrets", "ok", "none are in the database yet")
    back = "put it back from the backup, or copy it from another node"
    if not file.exists():
        return Finding("secrets", "fail", f"{file} is missing, and wraps the secrets there", back)
    key = file.read_bytes()
    if len(key) != KEY_LENGTH:
        text = f"{file} has {len(key)} bytes; a key has {KEY_LENGTH}"
        return Finding("secrets", "fail", text, back)
    try:
        Secrets(store, AESGCM(key), ids, file).get("nonces")
    except BootRefused as error:
        return Finding("secrets", "fail", str(error), back)
    return Finding("secrets", "ok", f"{file} opens those in the database; is there a backup of it?")


def authorities(settings: Settings, store: Store, now: datetime) -> Iterator[Finding]:
    """The embedded CAs have their keys, and live."""
    for each in settings.authorities:
        if each.embedded is None:
            continue
        if store.secret(f"authority/{each.name}") is None:
            if store.has_stream(f"authority/{each.name}"):
                text = (
                    f"{each.name}: the log knows its certificates, the database has no keys of it"
                )
                yield Finding("ca", "fail", text, "restore the database from a backup")
            else:
                yield Finding("ca", "ok", f"{each.name}: embedded; the first start makes its keys")
            continue
        yield _root(settings, each.name, now)


def _root(settings: Settings, name: str, now: datetime) -> Finding:
    file = root_file(settings, name)
    try:
        root = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        text = f"{name}: embedded, its keys are there; {file} is not to be read"
        return Finding("ca", "warn", text, "a start writes it again")
    until = f"{name}: embedded, its root is valid until {root.not_valid_after_utc:%Y-%m-%d}"
    longest = next(
        each.embedded.certificate_validity
        for each in settings.authorities
        if each.name == name and each.embedded is not None
    )
    if root.not_valid_after_utc <= now:
        return Finding("ca", "fail", f"{until}: it has expired", "another authority is needed")
    if root.not_valid_after_utc - now < longest:
        return Finding("ca", "warn", f"{until}: no certificate outlives it", "plan another one")
    return Finding("ca", "ok", until)


def node(
    settings: Settings, store: Store, ids: Ids, *, running: bool
) -> tuple[Identity | None, list[Finding]]:
    """Who this node is. None: it is not yet, or cannot be told."""
    id_file = settings.workdir / "server_id"
    if not id_file.exists() and not _has_lines(settings.audit.path):
        return None, [Finding("node", "ok", "not made yet: the first start makes its key")]
    try:
        who = identity.find(settings.workdir, settings.audit.path, ids)
    except BootRefused as error:
        return None, [Finding("node", "fail", str(error))]
    return who, list(_node(settings, store, who, running=running))


def _has_lines(path: Path) -> bool:
    return bool(closed_segments(path)) or (path.exists() and path.stat().st_size > 0)


def _node(settings: Settings, store: Store, who: Identity, *, running: bool) -> Iterator[Finding]:
    kid = who.key.public.kid
    yield Finding("node", "ok", f"node {who.server_id} signs with key {kid}")
    if store.is_empty():
        return
    row = store.get(NODES, who.server_id)
    if row is not None and row.retired:
        text = f"it was retired at {row.retired}: it never writes again"
        yield Finding("node", "fail", text, "give this host a new node, in a workdir of its own")
    if (wanting := boot.not_endorsed(store, who.server_id)) is not None:
        yield Finding("node", "warn", wanting)
    if who.next_key is not None:
        text = "a rotation of its key was broken off; the next start completes or forgets it"
        yield Finding("node", "warn", text)
    if running:
        yield from _settings_in_use(settings, store, who)


def in_use(settings: Settings) -> Mapping[str, object]:
    """Return the settings that the running node has in use, as the log has them; none: it cannot
    be told."""
    server_id = identity.known_id(settings.workdir)
    try:
        with closing(Store.open(settings.database)) as store:
            return {} if store.is_empty() else _in_use(store, server_id)
    except (DatabaseUnavailable, DatabaseUnfit, OSError):
        return {}  # the step that looks at the database tells that


def _in_use(store: Store, server_id: str) -> Mapping[str, object]:
    loaded = boot.settings_in(store.last_of_type("settings.loaded", [f"node/{server_id}"]))
    return {} if loaded is None else loaded.settings


def _settings_in_use(settings: Settings, store: Store, who: Identity) -> Iterator[Finding]:
    used = _in_use(store, who.server_id)
    again, waiting = config.differing(used, settings) if used else ((), ())
    text = "the running server has other settings than this file, which was changed since: "
    if waiting:
        remedy = "restart the server: these are taken into use by a start alone"
        yield Finding("config", "warn", text + ", ".join(waiting), remedy)
    if again:
        remedy = (
            "have it read again: systemctl reload, kill -HUP, or on Windows certeasy service"
            " reload; no restart is needed. Its log says if something is wrong with it"
        )
        yield Finding("config", "warn", text + ", ".join(again), remedy)


def journal(settings: Settings, store: Store, who: Identity, *, running: bool) -> Iterator[Finding]:
    """The journal's end, and its closed segments, are what the database knows."""
    path = settings.audit.path
    if store.is_empty():
        if not _has_lines(path):
            yield Finding("journal", "ok", f"{path}: no line yet")
            return
        remedy = "name the right database, or see docs/recovery.md"
        text = f"{path} has lines, and the database is empty"
        yield Finding("journal", "fail", text, remedy)
        return
    try:
        yield from (
            _beside_a_server(settings, store, who) if running else _at_rest(settings, store, who)
        )
    except (ProbeRefused, SegmentRefused, BrokenLine) as refusal:
        remedy = "docs/operations.md, What a start may find"
        yield Finding("journal", "fail", str(refusal), remedy)


def _at_rest(settings: Settings, store: Store, who: Identity) -> Iterator[Finding]:
    """Look as the next start will, which mends what a crash can have left."""
    path, known = settings.audit.path, store.server(who.server_id)
    keys = read_keys(store.stream(f"node/{who.server_id}"), who.server_id, who.key.public)
    found = Found(who.server_id, who.key, keys, tuple(who.boots), store.head(), known)
    mending = probe.check(found, store, path)
    missing = (known.seq if known is not None else 0) - mending.seq
    size = path.stat().st_size if path.exists() else 0
    if missing:
        lines = counted(missing, "line")
        text = f"{path} lacks {lines} at its end, as after a crash; a start writes what is missing"
        yield Finding("journal", "warn", text, "start the server")
    elif mending.end < size:
        text = f"{path} ends with {size - mending.end} bytes that are no line, as after a crash"
        yield Finding("journal", "warn", text, "start the server, which cuts them")
    else:
        yield Finding("journal", "ok", f"{path}: up to seq {mending.seq}, as in the database")
    yield from _archived(mending.closed.away)


def _beside_a_server(settings: Settings, store: Store, who: Identity) -> Iterator[Finding]:
    """Hold the last line against the database: it is there, and no more than a batch behind."""
    path = settings.audit.path
    known = store.server(who.server_id)  # first: the journal only goes on from here
    closed = segments.look(store, who.server_id, path)
    if closed.lost:
        names = segments.named(closed.lost)
        text = f"beside {path} is missing what was closed as {names}"
        remedy = "put it back; docs/operations.md, What a start may find"
        yield Finding("journal", "fail", text, remedy)
    lines = read_tail(path).lines if path.exists() else []
    seq = parse(lines[-1][1]).envelope.seq if lines else closed.end[0]
    stored = next(iter(store.lines_of(who.server_id, seq - 1)), None) if lines else None
    if lines and stored != lines[-1][1]:
        text = f"the last line of {path}, seq {seq}, is not that of the database"
        remedy = "stop the server; 'certeasy audit verify -f config.yml' names what differs"
        yield Finding("journal", "fail", text, remedy)
    elif known is not None and known.seq - seq > LINES:
        text = f"{path} ends at seq {seq}, and the database is at {known.seq}"
        yield Finding("journal", "fail", text, "look into the server's log")
    else:
        yield Finding("journal", "ok", f"{path}: up to seq {seq}, as in the database")
    yield from _archived(closed.away)


def _archived(away: list[segments.Segment]) -> Iterator[Finding]:
    if away:
        text = f"closed segments are not here: {segments.named(away)}"
        yield Finding("journal", "warn", text, "compare with the archive that they went to")


def writer(store: Store, who: Identity | None, *, running: bool) -> Finding:
    """Who has the writer's place."""
    head = store.head()
    left = head.lease_until - head.now
    if not head.writer or left <= 0:
        if running:
            text = "this node runs, and has not the writer's place: nothing can be committed"
            return Finding("writer", "fail", text, "look into the server's log")
        return Finding("writer", "ok", "nobody has the writer's place; a start can take it")
    if who is not None and head.writer == who.server_id:
        if running:
            return Finding("writer", "ok", "this node has the writer's place")
        text = f"this node does not run, and has the writer's place for another {left:.0f} s"
        return Finding("writer", "warn", text, "it was killed, or runs in another place")
    server = store.server(head.writer)
    named = f"node {head.writer}" + (f" on {server.hostname}" if server else "")
    if running:
        text = f"{named} has the writer's place, and this node runs: it commits nothing"
        return Finding("writer", "fail", text, "look into the server's log")
    return Finding("writer", "ok", f"{named} has the writer's place: this one can stand by")
