"""What the database says of nodes is what the log says; and nothing else is in the database."""

import sqlite3
from contextlib import closing

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certeasy.audit.database import Database, DatabaseWitness
from certeasy.audit.objects import OBJECTS
from certeasy.store import schema
from certeasy.store.shadow import Shadow
from certeasy.store.sqlite import sqlite_writer
from events.nodes import InstallationCreated, JournalRefilled, NodeRegistered
from journal.lines import read_lines
from journal.verify import verify as verify_journals
from tests.make.csrs import rsa_key
from tests.make.installations import Installation
from tests.make.journals import ALog, ANode, a_log, a_rotation


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    log = a_log()
    log.an_order("web.corp.internal")
    return Installation(tmp_path_factory.mktemp("made"), log)


@pytest.fixture
def single(made, tmp_path):
    return made.copied(tmp_path)


def test_a_node_s_public_key_is_the_one_that_its_id_is_of(single):
    stranger = a_log(nodes=2).nodes[1].key.public
    single.sql("UPDATE servers SET x = ?", stranger.x)
    single.breaks(f"servers has for node .* a public key with id {stranger.kid}, not")


@pytest.mark.parametrize("by", [0, 1])
def test_a_node_s_host_and_start_are_those_of_its_last_start(tmp_path, by):
    log = a_log(nodes=2)
    for _ in range(2):
        log.a_start(by=0)
        log.a_start(by=1)
    node = Installation(tmp_path, log)
    server_id = log.nodes[by].server_id
    node.verify()
    for column, said in (("hostname", "host evil"), ("boot_id", "start evil")):
        with closing(sqlite3.connect(node.database, isolation_level=None)) as connection:
            query = f"SELECT {column} FROM servers WHERE server_id = ?"  # noqa: S608 - ours
            before = connection.execute(query, (server_id,)).fetchone()[0]
        change = f"UPDATE servers SET {column} = ? WHERE server_id = ?"  # noqa: S608 - ours
        node.sql(change, "evil", server_id)
        broken = node.breaks(
            f"servers has {said} for node {server_id}, whose last start .*{before}"
        )
        assert broken.file == str(node.database)
        node.sql(change, before, server_id)


def test_a_node_that_never_started_is_on_the_host_that_it_registered(single):
    single.sql("UPDATE servers SET hostname = 'evil'")
    single.breaks("servers has host evil for node .*, which registered on node1.corp.internal")


def test_a_start_that_was_broken_off_is_in_the_workdir_s_list(tmp_path):
    log = a_log()
    first, last = (log.a_start().event.boot_id for _ in range(2))
    node = Installation(tmp_path, log)
    node.sql("UPDATE servers SET boot_id = 'broken-off', hostname = 'moved'")
    node.breaks("servers has start broken-off")
    (tmp_path / "boot_ids").write_text(f"{first}\n{last}\nbroken-off\n")
    node.verify()
    node.sql("UPDATE servers SET boot_id = ?", first)
    node.breaks(f"servers has start {first} for node")
    (tmp_path / "boot_ids").write_text(f"{first}\nbroken-off\n{last}\n")
    node.sql("UPDATE servers SET boot_id = 'broken-off'")
    node.breaks("servers has start broken-off")


def test_a_node_whose_journal_was_mended_had_a_start_that_the_log_does_not_tell(tmp_path):
    log = a_log(nodes=2)
    log.a_start(by=1)
    log.say(JournalRefilled(1, 2, "disk"), f"node/{log.nodes[1].server_id}", by=1)
    node = Installation(tmp_path, log)
    node.sql("UPDATE servers SET boot_id = 'x' WHERE server_id = ?", log.nodes[1].server_id)
    node.verify()


@pytest.mark.parametrize(("reason", "right"), [("asked", True), ("size", False)])
def test_a_segment_that_was_asked_to_be_closed_may_have_needed_a_start_of_its_own(
    tmp_path, reason, right
):
    """One that a server closes by itself has had its start told before."""
    log = a_log(nodes=2)
    log.a_start(by=1)
    a_rotation(log, reason, by=1)
    node = Installation(tmp_path, log)
    node.sql("UPDATE servers SET boot_id = 'x' WHERE server_id = ?", log.nodes[1].server_id)
    if right:
        node.verify()
    else:
        node.breaks("servers has start x")


def test_a_start_after_the_check_began_is_not_held_against_the_database(tmp_path):
    log = a_log()
    log.a_start()
    node = Installation(tmp_path, log)
    database = Database(node.database)
    standing = database.standing()
    database.close()
    log.a_start()
    node.write(log)
    database = Database(node.database)
    try:
        witness = DatabaseWitness(database, standing)
        witness.finish(verify_journals([read_lines(node.journal)], witness=witness), {})
    finally:
        database.close()


def rewritten(log: ALog) -> ALog:
    """The same story, signed with another key: what whoever has the disk can write anew."""
    other = ALog()
    other.nodes = [ANode(7)]
    other.nodes[0].server_id = log.nodes[0].server_id
    other.nodes[0].hostname = log.nodes[0].hostname
    kid, x = other.nodes[0].key.public.kid, other.nodes[0].key.public.x
    for record in log.records:
        fact = record.event
        if isinstance(fact, InstallationCreated | NodeRegistered):
            fact = msgspec.structs.replace(fact, kid=kid)
        if isinstance(fact, NodeRegistered):
            fact = msgspec.structs.replace(fact, x=x)
        other.say(fact, record.envelope.stream)
    return other


def test_a_log_written_anew_with_another_key_is_not_this_workdir_s(single):
    path = single.own_key(single.log.nodes[0].key)
    single.verify()
    forged = rewritten(single.log)
    single.write(forged)
    ours, theirs = single.log.nodes[0].key.public.kid, forged.nodes[0].key.public.kid
    broken = single.breaks(f"signed with key {theirs}, .*{path}.* is {ours}")
    assert (broken.file, broken.line) == (str(single.journal), 1)
    (single.folder / "server_id").unlink()
    single.breaks(f"signed with key {theirs}, .*{path}.* is {ours}")
    path.write_bytes(
        single.log.nodes[0]
        .key._key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    single.breaks(f"signed with key {theirs}, .*{path}.* is {ours}")


def test_a_key_that_cannot_be_read_is_not_at_hand_and_one_that_is_none_is_a_break(single):
    path = single.own_key(a_log(nodes=2).nodes[1].key)
    path.unlink()
    path.mkdir()
    single.verify()
    path.rmdir()
    for rubbish in (b"", b"rubbish", RSA_PEM, RSA_PUBLIC_PEM):
        path.write_bytes(rubbish)
        assert single.breaks("is not a node's signing key").file == str(path)


RSA_PEM = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
RSA_PUBLIC_PEM = (
    rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        (
            "CREATE TRIGGER evil AFTER INSERT ON events BEGIN DELETE FROM events; END",
            "the database has the trigger evil on events, which is not the server's",
        ),
        ("CREATE VIEW evil AS SELECT 1", "the view evil"),
        ("CREATE TABLE evil (a)", "the table evil"),
        ("CREATE UNIQUE INDEX evil ON events (type, at, position)", "the index evil on events"),
        ("CREATE VIRTUAL TABLE evil USING fts4", "the table evil"),
    ],
)
def test_what_somebody_added_to_the_database_is_named(single, statement, match):
    single.sql(statement)
    assert single.breaks(match).file == str(single.database)


@pytest.mark.parametrize("kind", ["VIEW", "VIRTUAL TABLE"])
def test_a_table_of_ours_that_became_something_else_is_named(single, kind):
    how = "AS SELECT * FROM nonces_of_mine" if kind == "VIEW" else "USING fts4"
    single.sql("DROP TABLE used_nonces")
    single.sql(f"CREATE {kind} used_nonces {how}")
    single.breaks("the (view|table) used_nonces")


def test_the_auditor_knows_what_the_server_s_schema_makes(single):
    single.sql("ANALYZE")  # its tables are SQLite's own
    single.verify()
    made = {table.name for table in schema.metadata.tables.values()}
    made |= {index.name for table in schema.metadata.tables.values() for index in table.indexes}
    assert {name for _, name in OBJECTS if not name.startswith("shadow_")} == made
    engine = sqlite_writer(single.database)
    with engine.begin() as connection:
        Shadow(connection)
    engine.dispose()
    single.verify()


# -- keys that were rotated ----------------------------------------------------------------------


@pytest.fixture
def turned(tmp_path):
    """A node that went from one key to another, with its workdir as the rotation leaves it."""
    log = a_log(nodes=2)
    log.a_start(by=1)
    log.a_key_rotation(by=1)
    log.a_key_rotation()
    log.a_start()
    node = Installation(tmp_path, log)
    node.own_key(log.nodes[0].key)
    return node


def test_a_rotated_key_is_the_row_s_and_the_workdir_s(turned):
    assert [node.kid for node in turned.verify().nodes] == [
        node.key.public.kid for node in turned.log.nodes
    ]
    old = turned.log.nodes[0].given_up[0].public
    change = "UPDATE servers SET kid = ?, x = ? WHERE server_id = ?"
    turned.sql(change, old.kid, old.x, turned.log.nodes[0].server_id)
    new = turned.log.nodes[0].key.public.kid
    turned.breaks(f"servers has key {old.kid} for node .* signs with {new}")


def test_a_workdir_in_the_middle_of_a_rotation_has_both_keys(turned):
    old, new = turned.log.nodes[0].given_up[0], turned.log.nodes[0].key
    path = turned.own_key(old)
    turned.breaks(f"signed with key {new.public.kid}, but the key of this workdir")
    path.with_name("signing.next.pem").write_bytes(new.to_pem())
    turned.verify()


def test_a_rotation_after_the_check_began_is_not_held_against_the_database(tmp_path):
    log = a_log()
    node = Installation(tmp_path, log)
    database = Database(node.database)
    standing = database.standing()
    database.close()
    log.a_key_rotation()
    log.a_start()
    node.write(log)
    database = Database(node.database)
    try:
        witness = DatabaseWitness(database, standing)
        witness.finish(verify_journals([read_lines(node.journal)], witness=witness), {})
    finally:
        database.close()


@pytest.mark.parametrize("step", ["rotate", "invite", "endorse", "retire"])
def test_an_administrator_s_command_is_a_start_that_the_log_does_not_tell(tmp_path, step):
    log = a_log(nodes=3)
    log.a_start(by=1)
    {
        "rotate": lambda: log.a_key_rotation(by=1),
        "invite": lambda: log.an_invitation(by=1),
        "endorse": lambda: log.an_endorsement(2, by=1),
        "retire": lambda: log.a_retirement(2, by=1),
    }[step]()
    node = Installation(tmp_path, log)
    node.sql("UPDATE servers SET boot_id = 'x' WHERE server_id = ?", log.nodes[1].server_id)
    node.verify()
