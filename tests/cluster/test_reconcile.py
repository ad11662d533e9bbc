"""A node whose last lines were lost, and whose positions another node has taken since.

The database is set back behind the node's last lines, as a promoted replica is that had not
received them; another node goes on from there; then the first one comes back.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from certeasy import config
from certeasy.audit.verifying import Given, verify
from certeasy.cli import group
from certeasy.cluster.boot import BootRefused
from certeasy.commit import reconcile
from certeasy.commit.keys import NodeKeys
from certeasy.commit.restore import restore
from certeasy.settings import Settings
from certeasy.store import Store
from events.accounts import AccountCreated, AccountDeactivated, AccountKeyChanged, AccountRevoked
from events.certificates import CertificateIssued, CertificateRevoked
from events.eab import EabCreated, EabRevoked, EabUsed
from events.envelope import parse
from events.nodes import NodeEndorsed
from events.orders import (
    ChallengeAccepted,
    ChallengeValidated,
    IssuanceSubmitted,
    OrderFinalized,
    OrderReady,
)
from events.recovery import LogForked
from events.registry import Event
from events.signing import PublicKey
from events.subjects import SubjectErased
from journal.breaks import JournalBroken
from journal.lines import read_journal, segments
from projections.accounts import ACCOUNTS
from projections.certificates import CERTIFICATES
from projections.eab import EAB_KEYS
from tests.make.configs import a_config
from tests.make.node import ANode, a_node, command, order_command
from tests.make.workdirs import refused, sql

LEAF = "5a" * 32
GONE = b"the key of somebody who is gone."


class Two:
    """Two nodes with workdirs of their own, on one database."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "shared" / "db.sqlite"
        self.database.parent.mkdir(parents=True)
        self.configs = [self._config(folder / name) for name in ("one", "two")]
        self.one, self.two = [config.load(path) for path in self.configs]

    def _config(self, folder: Path) -> Path:
        folder.mkdir()
        return a_config(
            folder,
            database=f"{{path: {self.database}}}",
            secrets=f"{{key-file: {self.database.with_name('secret.key')}}}",
        )

    def serve(self, settings: Settings, *work: Callable[[ANode], object]) -> None:
        with a_node(settings.workdir, settings=settings) as node:
            for each in work:
                each(node)

    def run(self, *words: str, which: int = 0) -> Result:
        return CliRunner().invoke(group, [*words, "-f", str(self.configs[which])])

    def given(self) -> Given:
        given = Given([segments(self.two.audit.path)])
        given.add_node(self.one.workdir, self.one.audit.path, self.database)
        return given

    def is_proven(self) -> None:
        """Look whether both journals and the database are one log, and the tables what it says."""
        for which in (0, 1):
            for words in (["audit", "verify"], ["projections", "check"]):
                done = self.run(*words, which=which)
                assert done.exit_code == 0, done.output
        verify(self.given())

    def tables(self) -> dict[str, list[tuple[object, ...]]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return {
                name: sorted(connection.execute(f"SELECT * FROM {name}"))  # noqa: S608 - ours
                for name in ("events", "orphaned_lines", "accounts", "certificates", "orders")
            }


def endorse(other: Settings) -> Callable[[ANode], object]:
    def act(node: ANode) -> object:
        first = parse(other.audit.path.read_bytes().splitlines()[0])
        fact = NodeEndorsed(first.envelope.server_id, first.kid)
        return node.submit(command((f"node/{fact.server_id}", fact)))

    return act


def an_account(account: str) -> Callable[[ANode], object]:
    fact = AccountCreated(account, f"{account}-key", {"kty": "OKP"})
    return lambda node: node.submit(command((f"account/{account}", fact)))


def issued(order: str, account: str, leaf: str = LEAF) -> CertificateIssued:
    return CertificateIssued(
        order_id=order,
        account_id=account,
        authority="lab",
        attempt=1,
        certificate=b"a leaf",
        chain=(),
        serial=leaf[:32],
        sha256=leaf,
        spki_sha256=leaf,
        names=("web.lab.test",),
        not_before="2026-01-01T00:00:00.000000Z",
        not_after="2027-01-01T00:00:00.000000Z",
    )


def keep_key(node: ANode) -> None:
    """Have the key of somebody kept, who is erased in a line that is lost."""
    with node.store.transaction() as transaction:
        transaction.keep_subjects([("administrator/gone", GONE)])


def lost_work(node: ANode) -> None:
    """Do what will be lost: an account, another one closed, an order with its certificate."""
    an_account("lost")(node)
    for old, new in (("lost-key", "lost-key-2"), ("lost-key-2", "lost-key-3")):
        changed = AccountKeyChanged("lost", old, new, {"kty": "OKP"})
        node.submit(command(("account/lost", changed)))
    node.submit(command(("account/known", AccountDeactivated("known"))))
    node.submit(command(("account/shut", AccountRevoked("shut"))))
    gone = SubjectErased("administrator/gone")
    node.submit(command((gone.subject, gone)))
    order = node.ids.new()
    node.submit(order_command(order))
    node.submit(command(*certificate_of(order)))
    node.submit(
        command((f"certificate/{order}", CertificateRevoked(order, LEAF[:32], 4, "account")))
    )


def certificate_of(order: str) -> list[tuple[str, Event]]:
    """Tell how an order got its certificate."""
    stream = f"order/{order}"
    return [
        (stream, ChallengeAccepted(0, 0)),
        (stream, ChallengeValidated(0, 0, {})),
        (stream, OrderReady()),
        (stream, OrderFinalized(b"csr", "0" * 64)),
        (stream, IssuanceSubmitted(1, "lab", "0" * 64)),
        (f"certificate/{order}", issued(order, "account")),
    ]


@pytest.fixture
def forked(tmp_path: Path) -> Two:
    """Node two has gone on where the last lines of node one were lost."""
    both = Two(tmp_path)
    both.serve(both.one, an_account("known"), an_account("shut"), keep_key)
    both.serve(both.two)
    both.serve(both.one, endorse(both.two))
    sql(both.database, "SELECT 1")
    replica = shutil.copy(both.database, tmp_path / "replica.sqlite")
    both.serve(both.one, lost_work)
    for path in both.database.parent.glob("db.sqlite-*"):
        path.unlink()
    shutil.copy(replica, both.database)
    both.serve(both.two, lambda node: node.an_order())
    return both


def test_the_lost_lines_are_kept_and_what_they_told_is_known(forked: Two, tmp_path: Path) -> None:
    journal = forked.one.audit.path
    before = journal.read_bytes()
    refused(forked.one, "another node has taken their positions", "certeasy journal reconcile")

    done = forked.run("journal", "reconcile")
    assert done.exit_code == 0, done.output
    for told in (
        "1 account.recovered",
        "2 account.key-changed",
        "1 account.deactivated",
        "1 account.revoked",
        "1 certificate.recovered",
    ):
        assert f"recorded anew: {told}" in done.output

    assert journal.read_bytes().startswith(before)
    lines = journal.read_bytes().removeprefix(before).splitlines()
    assert isinstance(parse(lines[0]).event, LogForked)
    assert parse(lines[0]).actor.kind == "administrator"
    store = Store.sqlite(forked.database)
    assert store.subject_key("administrator/gone") is None
    assert GONE not in forked.database.read_bytes()
    assert store.get(ACCOUNTS, "lost").thumbprint == "lost-key-3"
    assert store.get(ACCOUNTS, "known").status == "deactivated"
    assert store.get(ACCOUNTS, "shut").status == "revoked"
    certificate = store.certificate_with_sha256(LEAF)
    assert certificate is not None
    assert (certificate.reason, bool(certificate.revoked)) == (4, True)
    assert store.get(CERTIFICATES, certificate.id) == certificate
    store.close()
    forked.is_proven()

    replayed, live = tmp_path / "replayed.sqlite", tmp_path / "live.sqlite"
    others = ["--journal", str(forked.two.audit.path)]
    assert forked.run("audit", "replay", *others, "--out", str(replayed)).exit_code == 0
    assert forked.run("projections", "export", "--out", str(live)).exit_code == 0
    assert CliRunner().invoke(group, ["audit", "diff", str(replayed), str(live)]).exit_code == 0

    assert "nothing to reconcile" in forked.run("journal", "reconcile").output
    forked.serve(forked.one, lambda node: node.an_order())
    forked.serve(forked.two, lambda node: node.an_order())
    forked.is_proven()


def bound(account: str, kid: str) -> Callable[[ANode], object]:
    """Register an account that is bound with a key."""
    created = AccountCreated(account, f"{account}-key", {"kty": "OKP"}, eab=kid)
    facts = [(f"account/{account}", created), (f"eab/{kid}", EabUsed(kid, account))]
    return lambda node: node.submit(command(*facts))


def a_key(kid: str, uses: int = 0) -> Callable[[ANode], object]:
    fact = EabCreated(kid, max_uses=uses, policy="p")
    return lambda node: node.submit(command((f"eab/{kid}", fact)))


def taken_back(kid: str) -> Callable[[ANode], object]:
    return lambda node: node.submit(command((f"eab/{kid}", EabRevoked(kid))))


def test_keys_for_bindings_are_known_again_and_bind_and_bound_no_more_than_before(
    tmp_path: Path,
) -> None:
    """What a lost account was bound to holds for it; what was taken back stays so."""
    both = Two(tmp_path)
    both.serve(both.one, a_key("early"), a_key("once", uses=1), a_key("given up"), a_key("ended"))
    both.serve(both.two)
    both.serve(both.one, endorse(both.two), taken_back("ended"))
    sql(both.database, "SELECT 1")
    replica = shutil.copy(both.database, tmp_path / "replica.sqlite")
    lost = [
        a_key("late", uses=2),
        bound("of late", "late"),
        bound("of early", "early"),
        bound("of once", "once"),
        taken_back("given up"),
        a_key("short"),
        taken_back("short"),
    ]
    both.serve(both.one, *lost)
    for path in both.database.parent.glob("db.sqlite-*"):
        path.unlink()
    shutil.copy(replica, both.database)
    both.serve(both.two, bound("another", "once"))

    done = both.run("journal", "reconcile")
    assert done.exit_code == 0, done.output
    for told in ("2 eab.created", "2 eab.used", "2 eab.revoked", "3 account.recovered"):
        assert f"recorded anew: {told}" in done.output
    assert "left as it is: 1 eab.used" in done.output
    store = Store.sqlite(both.database)
    keys = {key.kid: (key.status, key.uses) for key in store.eab_keys()}
    assert keys == {
        "early": ("valid", 1),
        "ended": ("revoked", 0),
        "given up": ("revoked", 0),
        "late": ("valid", 1),
        "once": ("valid", 1),
        "short": ("revoked", 0),
    }
    late = store.get(EAB_KEYS, "late")
    assert late is not None
    assert (late.policy, late.max_uses) == ("p", 2)
    for account, kid in (("of late", "late"), ("of early", "early"), ("of once", "once")):
        row = store.get(ACCOUNTS, account)
        assert row is not None
        assert row.eab == kid
    store.close()
    both.is_proven()
    assert "nothing to reconcile" in both.run("journal", "reconcile").output


def test_a_reconcile_that_was_interrupted_is_run_again(forked: Two) -> None:
    """The lines are kept, and the process dies before the log tells of them."""
    store = Store.sqlite(forked.database)
    who = (forked.one.workdir / "server_id").read_text().strip()
    server, head = store.server(who), store.head()
    assert server is not None
    files = segments(forked.one.audit.path)
    key = parse(forked.one.audit.path.read_bytes().splitlines()[1]).event.x
    keys = NodeKeys(PublicKey(key))
    reconcile.keep(store, server, head, reconcile.lost(files, server, head, keys))
    store.close()
    refused(forked.one, "was interrupted; run it again")
    assert forked.run("audit", "verify").exit_code == 1
    done = forked.run("journal", "reconcile")
    assert done.exit_code == 0, done.output
    forked.is_proven()


def test_a_forked_log_is_restored_with_its_orphaned_lines(forked: Two) -> None:
    forked.run("journal", "reconcile")
    before = forked.tables()
    assert before["orphaned_lines"]
    for path in forked.database.parent.glob("db.sqlite*"):
        path.unlink()
    store = Store.sqlite(forked.database)
    restore(store, Given([segments(each.audit.path) for each in (forked.one, forked.two)]))
    store.close()
    assert forked.tables() == before


def test_lost_lines_whose_positions_are_free_are_put_back_instead(tmp_path: Path) -> None:
    both = Two(tmp_path)
    both.serve(both.one, an_account("known"), an_account("shut"))
    sql(both.database, "SELECT 1")
    replica = shutil.copy(both.database, tmp_path / "replica.sqlite")
    both.serve(both.one, lost_work)
    shutil.copy(replica, both.database)
    done = both.run("journal", "reconcile")
    assert done.exit_code == 1
    assert f"'certeasy journal restore -f {both.configs[0]}' puts the lines back" in done.output
    assert both.run("journal", "restore").exit_code == 0


# -- what is no explained fork -------------------------------------------------------------------


def test_a_fork_that_nobody_tells_of_is_a_break(forked: Two) -> None:
    """Both journals as they are, without a `log.forked`."""
    with pytest.raises(JournalBroken, match=r"position \d+ is taken by|contradict"):
        verify(Given([segments(each.audit.path) for each in (forked.one, forked.two)]))
    with pytest.raises(BootRefused):
        ANode(forked.one)


@pytest.mark.parametrize("cut", ["orphan", "told", "row", "added"])
def test_a_fork_that_was_tampered_with_is_a_break(forked: Two, cut: str) -> None:
    forked.run("journal", "reconcile")
    path = forked.one.audit.path
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"type":"log.forked"' in line)
    match cut:
        case "orphan":  # a byte of an orphaned line
            lines[at - 2] = lines[at - 2].replace(b'"actor"', b'"actoR"')
        case "told":
            lines[at] = lines[at].replace(b'"first_seq":', b'"first_seq":1')
        case "row":
            sql(forked.database, "UPDATE orphaned_lines SET line = x'00' WHERE seq % 2 = 0")
        case _:
            sql(
                forked.database,
                "INSERT INTO orphaned_lines SELECT 'x', seq, position, hash, line"
                " FROM orphaned_lines LIMIT 1",
            )
    path.write_bytes(b"".join(lines))
    assert forked.run("audit", "verify").exit_code == 1


def test_a_reader_marks_exactly_the_lines_that_are_told(forked: Two) -> None:
    forked.run("journal", "reconcile")
    lines = list(read_journal(segments(forked.one.audit.path)))
    marked = [parse(line.data).envelope.seq for line in lines if line.orphaned]
    [fork] = [f for line in lines if isinstance(f := parse(line.data).event, LogForked)]
    assert marked == list(range(fork.first_seq, fork.last_seq + 1))
    assert msgspec.structs.asdict(fork)["server_id"] == parse(lines[0].data).envelope.server_id


def test_what_is_shown_of_a_journal_is_what_the_log_says(forked: Two) -> None:
    """From the journal or from the database: a lost line is none of the log's."""
    forked.run("journal", "reconcile")
    words = ["audit", "show", "account", "lost", "--json"]
    journals = [w for each in (forked.one, forked.two) for w in ("--journal", str(each.audit.path))]
    alone = CliRunner().invoke(group, [*words, *journals])
    assert alone.exit_code == 0, alone.output
    told = [entry["type"] for entry in msgspec.json.decode(alone.stdout)]
    assert told == ["account.recovered", "account.key-changed", "account.key-changed"]
    assert [e["type"] for e in msgspec.json.decode(forked.run(*words).stdout)] == told
