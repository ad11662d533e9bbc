"""`certeasy journal restore` and `reconcile`: a database that lost lines, and the nodes' journals.

Where their positions are free, the lines are put back; where another node has taken them, both are
kept, and the fork is recorded.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from certeasy.audit.altered import altered
from certeasy.audit.verifying import Given, Progress
from certeasy.cli.at_rest import refuse_root
from certeasy.cli.options import fail, read, told, with_config
from certeasy.cli.printing import as_typed
from certeasy.cli.progress import progress_bar
from certeasy.clock import Clock, SystemClock
from certeasy.cluster import boot, recovery
from certeasy.cluster.boot import BootRefused
from certeasy.cluster.database import SharedDatabase
from certeasy.cluster.files import create_empty, write_once
from certeasy.cluster.secrets import KEY_LENGTH
from certeasy.commit import Command, Committer
from certeasy.commit import probe as probing
from certeasy.commit import reconcile as reconciling
from certeasy.commit.command import Unavailable
from certeasy.commit.erasure import erase
from certeasy.commit.probe import ProbeRefused
from certeasy.commit.reconcile import Anew, ReconcileRefused
from certeasy.commit.restore import Restored, RestoreRefused
from certeasy.commit.restore import restore as put_back
from certeasy.decide import eab
from certeasy.decide.decision import Decision, Reader
from certeasy.ids import Ids, RandomIds
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, PlaceLost, Store
from events.envelope import BrokenLine, Record, parse
from events.recovery import LogRestored
from events.registry import Event, name_of
from events.signing import PublicKey, read_key_set
from journal.breaks import JournalBroken, Line
from journal.lines import NoJournal, read_journal, segments
from projections.eab import VALID
from projections.fold import VERSION

FACTS_AT_ONCE = 500
_file = click.Path(path_type=Path)
REFUSED = (
    BootRefused,
    DatabaseUnavailable,
    JournalBroken,
    NoJournal,
    PlaceLost,
    ProbeRefused,
    ReconcileRefused,
    RestoreRefused,
    Unavailable,
)


@click.command(
    short_help="Put back what the database lost, from journals.",
    epilog="Example: certeasy journal restore -f config.yml --journal /srv/saved/node2"
    " --keys keys.json",
)
@with_config
@click.option(
    "--journal",
    "journals",
    metavar="FILE|DIR",
    multiple=True,
    type=_file,
    help="Another node's journal, or the folder with its segments. Once per node.",
)
@click.option("--keys", "keys_file", metavar="FILE", type=_file, help="A JWK set of trusted keys.")
@click.option(
    "--anchor", metavar="KID", default="", help="The key id that must have begun the log."
)
@click.option("--trust", metavar="KID", multiple=True, help="Trust this key without endorsement.")
@told(*REFUSED)
def restore(
    config_file: Path,
    journals: tuple[Path, ...],
    keys_file: Path | None,
    anchor: str,
    trust: tuple[str, ...],
) -> None:
    """Put back what the database lost, from the journals of all nodes, and record that it was done.

    The database may be empty or absent, or one from a backup: then what it has is compared, and
    what it lacks is appended. This node's own journal is always read; without --journal it is the
    only one. Everything is verified on the way, and put back in one transaction: after a failure or
    a crash nothing has changed, and the command is run again. Stop the servers first.

    Exit codes: 0 done, or nothing was missing, 1 refused, broken or failed, 2 the command line is
    wrong.
    """
    settings = read(config_file)
    refuse_root(settings)
    given = _given(settings, journals)
    given.keys, given.anchor, given.trusted = _keys(keys_file), anchor, trust
    ids = RandomIds(SystemClock())
    with recovery.in_hand(settings) as database:
        store = database.store
        _check_tables(settings, database)
        begun = time.perf_counter()
        with _progress(given) as progress:
            restored = put_back(store, given, progress)
        if restored.lines == 0:
            click.echo(
                f"nothing is missing: the database ends at position {restored.last}, as the"
                " journals do"
            )
            return
        seconds = max(time.perf_counter() - begun, 1e-9)
        click.echo(
            f"{database.name}: positions {restored.first} to {restored.last} of"
            f" installation {restored.installation_id} are back; {restored.last} events verified in"
            f" {seconds:.1f} s ({restored.last / seconds:,.0f} events/s)"
        )
        _tell_secrets(settings, store, restored, ids)
        known = store.server(recovery.server_id(settings)) is not None
    fact = LogRestored(restored.first, restored.last, restored.hash, restored.nodes)
    _record(settings, fact, ids, known=known)


def _check_tables(settings: Settings, database: SharedDatabase) -> None:
    """Where there are none yet, the restore makes them, if it may; a file of ours is private."""
    if not database.is_empty():
        return
    if settings.database.noddl:
        fail(
            f"{database.name} has no tables, and database.noddl is true: have the DBA run what"
            " 'certeasy migrate --sql -f config.yml' prints, then run this command again"
        )
    if settings.database.driver == "sqlite":
        create_empty(settings.database.path)


def _given(settings: Settings, journals: tuple[Path, ...]) -> Given:
    """Return the journals to read: those given, and this node's own unless it is among them."""
    given = Given([segments(path) for path in journals])
    for files in given.journals:
        if meaning := altered(files[0]):
            fail(f"{files[0]} is not as its node wrote it: {meaning}; nothing was changed")
    own: list[Path] = []
    with suppress(NoJournal):
        own = segments(settings.audit.path)
    if own and _owner(own) not in [_owner(files) for files in given.journals]:
        given.journals.insert(0, own)
    if not given.journals:
        fail(f"there is no journal at {settings.audit.path}: give --journal FILE|DIR", 2)
    return given


def _owner(files: list[Path]) -> str:
    try:
        line = next(read_journal(files), None)
        return "" if line is None else parse(line.data).envelope.server_id
    except (BrokenLine, JournalBroken):
        return ""


def _keys(path: Path | None) -> dict[str, PublicKey]:
    try:
        return {} if path is None else read_key_set(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}", 2)


@contextmanager
def _progress(given: Given) -> Iterator[Progress | None]:
    if not sys.stderr.isatty():
        yield None
        return
    done: dict[str, int] = {}
    with progress_bar("restoring", given.size()) as shown:

        def tell(line: Line, _lines: int) -> None:
            done[line.file] = line.offset
            shown(sum(done.values()))

        yield tell


def _tell_secrets(settings: Settings, store: Store, restored: Restored, ids: Ids) -> None:
    """Tell what no journal has, and what each piece of it being lost means."""
    key_file = settings.secrets.key_file
    if not key_file.exists() and not store.has_secrets():
        write_once(key_file, ids.random(KEY_LENGTH))
        click.echo(f"{key_file}: made anew, as the database has no secret that another one wraps")
    if store.secret("nonces") is None:
        click.echo(
            "secret nonces: not in the database; the next start makes it anew, and clients fetch"
            " new nonces"
        )
    for authority in settings.authorities:
        name = f"authority/{authority.name}"
        if store.secret(name) is None and store.has_stream(name):
            click.echo(
                f"secret {name}: not in the database; this CA's private key is lost unless a"
                " backup has it, and the server does not start without it. Restore the newest"
                " backup and run this command again, or configure an authority under another name"
            )
    _tell_bindings(store)
    if restored.keyless:
        click.echo(
            f"subject keys: {restored.keyless} of {restored.subjects} are not in the database;"
            " contacts, addresses and names sealed with them stay unreadable unless a backup has"
            " them (those that were erased stay erased)"
        )


def _tell_bindings(store: Store) -> None:
    """Tell which keys for external account bindings are lost: nobody can be bound with them."""
    if store.head().projections != VERSION:
        return  # the next start folds the tables anew; `eab list` tells then
    for key in store.eab_keys():
        name = eab.secret_name(key.kid)
        if key.status == VALID and store.secret(name) is None:
            lost = (
                f"secret {name}: not in the database; nobody can be bound with this key any more"
                " unless a backup has it, and accounts that are go on. Make another one for those"
                " who are to register ('certeasy eab create -f config.yml')"
            )
            click.echo(as_typed(lost))


def _record(settings: Settings, fact: LogRestored, ids: Ids, *, known: bool) -> None:
    """Commit as this node that it was done, where this workdir is a node of the installation."""
    if not known:
        click.echo("the log has no line about it: this workdir is no node of the installation yet")
        return
    try:
        commit_as_node(settings, (("log", fact),), SystemClock(), ids)
    except BootRefused as refusal:
        fail(f"the lines are back, but the log has no line about it yet: {refusal}")
    click.echo("the log has a line about it")


def commit_as_node(
    settings: Settings, facts: tuple[tuple[str, Event], ...], clock: Clock, ids: Ids
) -> None:
    """Start as far as it takes to commit these facts, by the administrator; then stop."""
    node = boot.open_node(settings, ids)
    try:
        standing = boot.level(node)
        committer = Committer(node.store, node.journal, clock)
        committer.start(boot.take_place(node, clock, ids), standing)
        committer.submit(Command(lambda _rows, _now: Decision(facts), boot.operator(node, ids)))
        committer.stop()
    finally:
        node.close()


@click.command(
    short_help="Go on where another node took the place of lost lines.",
    epilog="Example: certeasy journal reconcile -f config.yml",
)
@with_config
@told(*REFUSED)
def reconcile(config_file: Path) -> None:
    """Let this node go on where its last lines were lost and another node has taken their
    positions.

    The lines are kept in the database beside the log (orphaned_lines), a signed log.forked says
    which they are, and accounts, certificates and revocations that they told of are recorded anew.
    After a crash, run it again. Stop the servers first.

    Exit codes: 0 done, or there was nothing to reconcile, 1 refused or failed.
    """
    settings = read(config_file)
    refuse_root(settings)
    clock = SystemClock()
    ids = RandomIds(clock)
    node = boot.open_node(settings, ids)
    try:
        records = _orphans(node)
        server = node.store.server(node.identity.server_id)
        untold = reconciling.untold(records, server) if server else []
        anew = reconciling.anew(untold or records, node.store)
        if not untold and not anew.facts and not anew.erased:
            click.echo("nothing to reconcile: the log has every line of this node's journal")
            return
        standing = boot.level(node, reconciling=True)
        committer = Committer(node.store, node.journal, clock)
        committer.start(boot.take_place(node, clock, ids), standing)
        everything = [*(reconciling.forked(untold) if untold else []), *anew.facts]
        actor = boot.operator(node, ids)
        for first in range(0, len(everything), FACTS_AT_ONCE):
            decided = Decision(tuple(everything[first : first + FACTS_AT_ONCE]))
            committer.submit(Command(partial(_as_decided, decided), actor))
        erase(committer, node.store, ids, actor, anew.erased)
        committer.stop()
    finally:
        node.close()
    _tell_reconciled(untold, anew)


def _as_decided(decision: Decision, _rows: Reader, _now: datetime) -> Decision:
    return decision


def _orphans(node: boot.Opened) -> list[Record]:
    """Return this node's orphaned lines, after keeping those that are only in its journal yet."""
    store, found = node.store, boot.look(node)
    if found.server is None:
        raise ReconcileRefused(
            f"the database of installation {found.head.installation_id} does not know node"
            f" {found.server_id}: give it a workdir of its own, and keep this one as evidence"
        )
    probing.check_registration(found)
    lost = reconciling.lost(segments(node.journal.path), found.server, found.head, found.keys)
    if lost:
        reconciling.keep(store, found.server, found.head, lost)
    return reconciling.kept(store, found.server_id)


def _tell_reconciled(untold: list[Record], anew: Anew) -> None:
    if untold:
        first, last = untold[0].envelope, untold[-1].envelope
        click.echo(
            f"seq {first.seq} to {last.seq} of node {last.server_id} are kept in orphaned_lines;"
            " the log has a line about it"
        )
    for kind, count in Counter(name_of(fact)[0] for _stream, fact in anew.facts).items():
        click.echo(f"recorded anew: {count} {kind}")
    if anew.erased:
        click.echo(f"destroyed again: the keys of {len(anew.erased)} erased subjects")
    for kind, count in anew.left.items():
        click.echo(f"left as it is: {count} {kind}")
