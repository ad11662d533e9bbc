"""A node goes to another signing key; wherever that ends, the next start completes it."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from certeasy.cli import group
from certeasy.cluster import boot
from certeasy.cluster.next_key import rotate_key
from certeasy.commit import Command, Unavailable
from certeasy.commit.chain import BrokenChain, after
from certeasy.commit.command import PoisonousCommand
from certeasy.commit.from_log import from_log
from certeasy.commit.keys import NodeKeys, read_keys
from certeasy.commit.vouched import Vouched
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.nodes import NodeRefused
from certeasy.settings import Settings
from certeasy.store import Store
from events.envelope import ZERO_HASH, Record, parse
from events.nodes import NodeKeyRotated
from events.orders import OrderInvalidated, Problem
from events.signing import BadSignature, SigningKey
from projections.orders import ORDERS
from tests.fakes.faults import Fault, before, database_error, io_error, no_space
from tests.fakes.faults import after as but_done
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.databases import a_database
from tests.make.journals import a_log
from tests.make.node import SYSTEM, ANode, a_node, node_settings
from tests.make.workdirs import refused, sql

PROBLEM = Problem("urn:ietf:params:acme:error:dns", "no such name", 400)
KEY, NEXT = Path("keys/signing.pem"), Path("keys/signing.next.pem")


@pytest.fixture
def one(tmp_path: Path) -> Settings:
    settings = node_settings(tmp_path / "one")
    with a_node(settings.workdir) as node:
        node.an_order()
    return settings


def kid_in(path: Path) -> str:
    return SigningKey.from_pem(path.read_bytes()).public.kid


def records(settings: Settings) -> list[Record]:
    return [parse(line) for line in settings.audit.path.read_bytes().splitlines()]


def rotations(settings: Settings) -> list[NodeKeyRotated]:
    return [fact for r in records(settings) if isinstance(fact := r.event, NodeKeyRotated)]


def rotate(tmp_path: Path, settings: Settings) -> str:
    """Have the administrator rotate the key; return what was printed."""
    config = a_config(tmp_path, workdir=f'"{settings.workdir}"')
    result = CliRunner().invoke(group, ["node", "rotate-key", "-f", str(config)])
    assert result.exit_code == 0, result.output
    return result.output


def works(settings: Settings) -> None:
    """Let the node start, work and stop; then look at everything."""
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
    check_node(settings.workdir, acknowledged=node.acknowledged)
    assert not (settings.workdir / NEXT).exists()
    assert {path.name for path in (settings.workdir / "keys").iterdir()} == {KEY.name}
    server = node.store.server(node.opened.identity.server_id)
    assert server is not None
    assert server.kid == kid_in(settings.workdir / KEY) == records(settings)[-1].kid


def test_a_key_is_given_up_for_another(tmp_path: Path, one: Settings) -> None:
    old = (one.workdir / KEY).read_bytes()
    for _ in range(2):
        before = kid_in(one.workdir / KEY)
        printed = rotate(tmp_path, one)
        last = records(one)[-1]
        assert (last.kid, last.actor.kind) == (before, "administrator")
        assert rotations(one)[-1].previous == before
        assert rotations(one)[-1].kid == kid_in(one.workdir / KEY)
        assert before in printed
        assert kid_in(one.workdir / KEY) in printed
        works(one)
    assert len(rotations(one)) == 2
    assert old not in [path.read_bytes() for path in one.workdir.rglob("*.pem")]


def test_a_key_that_was_given_up_starts_no_node(tmp_path: Path, one: Settings) -> None:
    old = (one.workdir / KEY).read_bytes()
    rotate(tmp_path, one)
    new = (one.workdir / KEY).read_bytes()
    (one.workdir / KEY).write_bytes(old)
    refused(one, "known with kid", SigningKey.from_pem(new).public.kid)
    (one.workdir / KEY).write_bytes(new)
    works(one)


# -- the end of the process, at every step -------------------------------------------------------


def begun(node: ANode) -> None:
    """Rotate the key, as the command does."""
    actor = boot.operator(node.opened, node.ids)
    rotate_key(node.opened, node.committer, actor, node.ids)


def before_the_new_key(node: ANode) -> None:
    node.freeze()


def with_the_new_key_written(node: ANode) -> None:
    node.opened.identity.make_next_key(node.ids)
    node.freeze()


def at(step: str, then: Fault | None = None) -> Callable[[ANode], None]:
    def arm(node: ANode) -> None:
        node.crash_at(step, then)
        begun(node)

    return arm


def ahead_of(step: str) -> Callable[[ANode], None]:
    def arm(node: ANode) -> None:
        node.crash_before(step)
        begun(node)

    return arm


def with_everything_but_the_file(node: ANode) -> None:
    who = node.opened.identity
    settle = who.settle

    def freeze_first() -> bool:
        node.freeze()
        return settle()

    who.settle = freeze_first  # type: ignore[method-assign]
    begun(node)


def with_the_file(node: ANode) -> None:
    begun(node)
    node.freeze()


ENDS: dict[str, tuple[Callable[[ANode], None], bool]] = {
    "before anything": (before_the_new_key, False),
    "new key written": (with_the_new_key_written, False),
    "before COMMIT": (ahead_of("commit"), False),
    "event committed": (ahead_of("write"), True),
    "journal half written": (at("write", lambda action: action(action.data[:100])), True),
    "journal written": (at("sync"), True),
    "all but the file": (with_everything_but_the_file, True),
    "file in place": (with_the_file, True),
}


@pytest.mark.parametrize(("end", "happened"), ENDS.values(), ids=ENDS)
def test_the_next_start_completes_what_was_begun(
    tmp_path: Path, one: Settings, end: Callable[[ANode], None], *, happened: bool
) -> None:
    old = kid_in(one.workdir / KEY)
    node = ANode(one)
    end(node)
    acknowledged = node.die()
    works(one)
    assert (kid_in(one.workdir / KEY) != old) is happened
    assert len(rotations(one)) == happened
    check_node(one.workdir, acknowledged=acknowledged)
    rotate(tmp_path, one)
    works(one)


@pytest.mark.parametrize("end", [ahead_of("write"), with_everything_but_the_file])
def test_the_command_again_completes_what_was_begun_and_no_more(
    tmp_path: Path, one: Settings, end: Callable[[ANode], None]
) -> None:
    node = ANode(one)
    end(node)
    node.die()
    assert "is complete" in rotate(tmp_path, one)
    assert len(rotations(one)) == 1
    works(one)


FAULTS: dict[str, tuple[str, Fault, bool]] = {
    "COMMIT failed": ("commit", before(database_error), False),
    "journal full": ("write", before(no_space), True),
    "journal not synced": ("sync", but_done(io_error), True),
}


@pytest.mark.parametrize(("step", "fault", "happened"), FAULTS.values(), ids=FAULTS)
def test_an_error_leaves_it_to_the_next_start(
    one: Settings, step: str, fault: Fault, *, happened: bool
) -> None:
    old = kid_in(one.workdir / KEY)
    node = ANode(one)
    actor = boot.operator(node.opened, node.ids)
    node.faults.arm(step, fault)
    with pytest.raises(Unavailable, match="outcome unknown"):
        rotate_key(node.opened, node.committer, actor, node.ids)
    node.abandon()
    works(one)
    assert (kid_in(one.workdir / KEY) != old) is happened
    assert len(rotations(one)) == happened


def test_a_key_that_changed_meanwhile_is_not_given_up(one: Settings) -> None:
    with a_node(one.workdir) as node:
        actor = boot.operator(node.opened, node.ids)
        stranger = SigningKey.from_seed(b"s" * 32)
        own, node.opened.identity.key = node.opened.identity.key, stranger
        with pytest.raises(NodeRefused, match=own.public.kid):
            rotate_key(node.opened, node.committer, actor, node.ids)
        node.opened.identity.key = own
    works(one)


# -- the journal behind a rotation ---------------------------------------------------------------


def test_lines_by_both_keys_that_a_crash_lost_are_written_again(
    tmp_path: Path, one: Settings
) -> None:
    rotate(tmp_path, one)
    works(one)
    whole = one.audit.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    one.audit.path.write_bytes(b"".join(lines[:3]))
    works(one)
    assert one.audit.path.read_bytes().startswith(whole)


def test_a_journal_that_is_gone_is_refilled_with_lines_by_both_keys(
    tmp_path: Path, one: Settings
) -> None:
    rotate(tmp_path, one)
    works(one)
    whole = one.audit.path.read_bytes()
    one.audit.path.unlink()
    config = a_config(tmp_path, workdir=f'"{one.workdir}"')
    command = ["journal", "refill", "-f", str(config), "--reason", "a disk was replaced"]
    result = CliRunner().invoke(group, command)
    assert result.exit_code == 0, result.output
    assert one.audit.path.read_bytes().startswith(whole)
    works(one)


def test_a_row_cannot_give_a_node_a_key(tmp_path: Path, one: Settings) -> None:
    """Whoever writes to the database alone gets no line of his into the journal."""
    rotate(tmp_path, one)
    works(one)
    lines = one.audit.path.read_bytes().splitlines(keepends=True)
    one.audit.path.write_bytes(b"".join(lines[:3]))
    change = 'UPDATE events SET line = replace(line, \'"previous":"\', \'"previous":"x\')'
    sql(one.database.path, f"{change} WHERE type = 'node.key-rotated'")
    refused(one, "the log does not tell that node", "rows were changed")


# -- the keys of a node --------------------------------------------------------------------------


def turned_twice():
    log = a_log()
    for _ in range(2):
        log.a_key_rotation()
        log.a_start()
    node = log.nodes[0]
    stream = [r.line for r in node.records if r.envelope.stream.startswith("node/")]
    return node, stream, [r.line for r in node.records]


def test_a_node_s_keys_are_found_from_its_present_one() -> None:
    node, stream, lines = turned_twice()
    keys = read_keys(stream, node.server_id, node.key.public)
    assert all(key.public.kid in keys for key in (*node.given_up, node.key))
    last = node.records[-1]
    assert after((0, ZERO_HASH), lines, node.server_id, keys) == (last.envelope.seq, last.hash)
    alone = NodeKeys(node.key.public)
    with pytest.raises(BrokenChain, match="which is no key of this node"):
        after((0, ZERO_HASH), lines, node.server_id, alone)


def test_a_key_that_was_given_up_signs_no_later_line() -> None:
    node, stream, _lines = turned_twice()
    keys = read_keys(stream, node.server_id, node.key.public)
    log = a_log()
    log.a_start()
    keys.check(log.records[1])
    for _ in range(2):
        log.a_start()
    with pytest.raises(BadSignature, match="was given up at seq 3"):
        keys.check(log.records[-1])


def test_a_line_that_proves_nothing_adds_no_key() -> None:
    node, stream, _lines = turned_twice()
    first, second = (key.public.kid for key in node.given_up)
    for broken in (
        [line for line in stream if b"node.registered" not in line],
        [*stream[:1], b"rubbish", *stream[2:]],
        [line.replace(b'"previous":"', b'"previous":"x') for line in stream],
        [line.replace(b'"jws":"eyJhbGciOiJFZERTQSIs', b'"jws":"e30', 1) for line in stream],
        [line.replace(b'"x":"', b'"x":"A') for line in stream],
    ):
        keys = read_keys(broken, node.server_id, node.key.public)
        assert first not in keys
    assert second in read_keys(stream[1:], node.server_id, node.key.public)
    assert first not in read_keys(stream, "another-node", node.key.public)


def test_a_row_that_was_changed_costs_no_key(one: Settings) -> None:
    """A key that the log has is kept, whatever the node's row says of it."""
    old = kid_in(one.workdir / KEY)
    node = ANode(one)
    with_everything_but_the_file(node)
    node.die()
    new = kid_in(one.workdir / NEXT)
    sql(one.database.path, f"UPDATE servers SET kid = '{old}'")  # noqa: S608 - ours
    refused(one, new, f"known with kid {old}")
    sql(one.database.path, f"UPDATE servers SET kid = '{new}'")  # noqa: S608 - ours
    works(one)
    assert kid_in(one.workdir / KEY) == new


def test_a_workdir_copied_in_the_middle_of_a_rotation_is_a_copy(one: Settings) -> None:
    node = ANode(one)
    ahead_of("write")(node)
    node.die()
    copy = one.workdir.with_name("copy")
    shutil.copytree(one.workdir, copy)
    works(one)
    refused(node_settings(copy, database=one.database.path), "this is a copy")


# -- what decisions are based on -----------------------------------------------------------------


def test_an_order_of_before_is_decided_on_after_a_rotation(tmp_path: Path, one: Settings) -> None:
    with a_node(one.workdir) as node:
        order = node.an_order()
    rotate(tmp_path, one)

    def decide(rows: Reader, _now: datetime) -> Decision:
        assert rows.get(ORDERS, order) is not None
        return Decision(((f"order/{order}", OrderInvalidated("test", PROBLEM)),))

    with a_node(one.workdir) as node:
        node.submit(Command(decide, SYSTEM))
    check_node(one.workdir, acknowledged=node.acknowledged)


@pytest.mark.parametrize("which", ["its key then", "its key now", "a key given up"])
def test_a_row_is_made_of_lines_by_the_key_that_a_node_had_then(tmp_path: Path, which: str) -> None:
    log = a_log(nodes=2)
    then = log.a_new_order("web.lab.test", account=log.an_account(by=1), by=1)
    log.a_key_rotation(by=1)
    if which == "a key given up":
        log.nodes[1].key = log.nodes[1].given_up[0]
    now = log.a_new_order("web.lab.test", account=log.an_account(by=1), by=1)
    order = then if which == "its key then" else now
    store = Store.sqlite(a_database(log, tmp_path / "db.sqlite"))
    try:
        with store.transaction() as transaction:
            own = Vouched(log.nodes[0].key.public)
            made = (transaction, own, ORDERS, (order,), (f"order/{order}",))
            if which == "a key given up":
                with pytest.raises(PoisonousCommand, match="given up at seq"):
                    from_log(*made)
            else:
                assert from_log(*made) == store.get(ORDERS, order)
    finally:
        store.close()


def test_a_node_believes_its_own_earlier_lines_and_no_other_s_before_it_is_endorsed(
    tmp_path: Path,
) -> None:
    log = a_log()
    log.a_node(endorsed=False)
    order = log.a_new_order("web.lab.test", account=log.an_account(by=1), by=1)
    log.a_key_rotation(by=1)
    log.a_key_rotation()
    store = Store.sqlite(a_database(log, tmp_path / "db.sqlite"))
    try:
        with store.transaction() as transaction:
            wanted = (ORDERS, (order,), (f"order/{order}",))
            assert from_log(transaction, Vouched(log.nodes[1].key.public), *wanted) is not None
            with pytest.raises(PoisonousCommand, match="which is no endorsed node's key"):
                from_log(transaction, Vouched(log.nodes[0].key.public), *wanted)
    finally:
        store.close()
