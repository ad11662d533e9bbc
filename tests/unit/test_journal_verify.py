"""What `verify` accepts and what it says of it; `test_tampering.py` has what was done later."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.envelope import ZERO_HASH, Envelope, encode, seal_line
from events.nodes import InstallationCreated, NodeEndorsed, NodeRegistered, NodeStopped
from events.signing import SigningKey, read_key_set
from journal.breaks import JournalBroken, Line
from journal.heads import head_of
from journal.verify import verify
from tests.make.journals import INSTALLATION, ALog, ANode, a_log
from tests.make.stories import every_story


def lines(node: ANode) -> list[Line]:
    name = f"{node.hostname}.log"
    return [Line(name, n, 0, record.line) for n, record in enumerate(node.records, start=1)]


def journals(log: ALog) -> list[list[Line]]:
    return [lines(node) for node in log.nodes]


def check(log: ALog, **options):
    return verify(journals(log), threads=1, **options)


def breaks(log: ALog, match: str, **options) -> JournalBroken:
    with pytest.raises(JournalBroken, match=match) as broken:
        check(log, **options)
    return broken.value


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_a_log_of_any_number_of_nodes_is_good(nodes):
    log = a_log(nodes=nodes)
    every_story(log)
    log.a_start(by=nodes - 1)
    summary = check(log)
    assert summary.lines == log.position == summary.head.position
    assert summary.head == head_of(log.records[-1])
    assert summary.anchor == log.nodes[0].key.public.kid
    assert summary.installation_id == INSTALLATION
    assert (summary.first_at, summary.last_at) == (
        log.records[0].envelope.at,
        log.records[-1].envelope.at,
    )
    assert [(node.server_id, node.hostname, node.kid, node.lines) for node in summary.nodes] == [
        (node.server_id, node.hostname, node.key.public.kid, len(node.records))
        for node in log.nodes
    ]
    assert all(node.trusted for node in summary.nodes)
    assert summary.complete


@given(st.lists(st.integers(0, 2), max_size=25), st.permutations([0, 1, 2]))
def test_journals_are_merged_whoever_wrote_when_and_whatever_their_order(writers, order):
    log = a_log(nodes=3)
    for by in writers:
        log.a_start(by=by)
    merged = journals(log)
    assert verify([merged[n] for n in order], threads=1).lines == log.position


def test_an_empty_log_is_good_and_proves_nothing():
    for nothing in ([], [[]], [[], []]):
        summary = verify(nothing, threads=1)
        assert (summary.lines, summary.head, summary.nodes) == (0, None, ())
        assert summary.complete


def test_signatures_are_checked_on_several_threads_and_progress_is_told():
    log = a_log()
    for _ in range(3000):
        log.a_start()
    told = []
    given = journals(log)
    summary = verify(
        given, threads=3, progress=lambda line, count: told.append((line.number, count))
    )
    assert summary.lines == 3002
    assert told == [(1024, 1024), (2048, 2048)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_past_that_was_rewritten_without_the_key_is_named_by_whichever_thread(threads):
    # Numbers and hashes can be made to fit by anybody, signatures cannot.
    log = a_log()
    for _ in range(297):
        log.a_start()
    node = log.nodes[0]
    own, node.key = node.key.public, SigningKey.from_seed(b"s" * 32)
    node.key.public = own
    for _ in range(2300):
        log.a_start()
    with pytest.raises(
        JournalBroken, match="its signature is not that of its node's key"
    ) as broken:
        verify(journals(log), threads=threads)
    assert broken.value.line == 300


# -- some journals only ---------------------------------------------------------------------------


def test_some_journals_are_good_as_far_as_they_go():
    log = a_log(nodes=3)
    for by in (1, 2, 0, 1, 1):
        log.a_start(by=by)
    all_of_them = journals(log)
    summary = verify(all_of_them[:2], partial=True, threads=1)
    assert summary.lines == len(all_of_them[0]) + len(all_of_them[1])
    assert not summary.complete
    one = verify(all_of_them[1:2], read_key_set(log.key_set()), partial=True, threads=1)
    assert (one.lines, one.first_position, one.anchor) == (len(all_of_them[1]), 3, "")


def test_a_gap_between_journals_is_named():
    log = a_log(nodes=2)
    for _ in range(3):
        log.a_start(by=1)
    log.a_start(by=0)
    broken = breaks_of(journals(log)[:1], "position 3 is in no journal given")
    assert (broken.line, broken.seq, broken.position) == (3, 3, 4)
    broken = breaks_of([lines(log.nodes[0])[:3] + lines(log.nodes[0])[3:]], "position 3 is in no")
    assert broken.file == "node1.corp.internal.log"


def breaks_of(sources, match: str, **options) -> JournalBroken:
    with pytest.raises(JournalBroken, match=match) as broken:
        verify(sources, threads=1, **options)
    return broken.value


def test_several_missing_positions_are_named():
    log = a_log(nodes=2)
    for _ in range(3):
        log.a_start(by=1)
    log.a_start(by=0)
    cut = [lines(log.nodes[0]), lines(log.nodes[1])[:1]]
    broken = breaks_of(cut, "positions 5 to 7 are in no journal given")
    assert broken.position == 8


def test_a_journal_given_twice_is_named():
    one = lines(a_log().nodes[0])
    breaks_of([one, one], r"node .* has another journal, node1")


def test_two_lines_at_one_position_are_named():
    # Two nodes whose clocks and keys are right, but which were told the same head: a fork.
    log, other = a_log(nodes=2), a_log(nodes=2)
    log.a_start(by=0)
    other.a_start(by=1)
    broken = breaks_of([lines(log.nodes[0]), lines(other.nodes[1])], "position 5 is taken by")
    assert broken.file == "node2.corp.internal.log"


class AWitness:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def see(self, _line, record) -> None:
        self.seen.append(record.envelope.position)

    def missing(self, position: int) -> str:
        return f"the witness has {position}"


def test_a_witness_sees_every_line_in_order_and_is_asked_for_what_is_missing():
    log = a_log(nodes=2)
    witness = AWitness()
    check(log, witness=witness)
    assert witness.seen == list(range(1, log.position + 1))
    breaks_of(journals(log)[:1], "position 3 is in no journal.*the witness has 3", witness=witness)


# -- pinned heads ---------------------------------------------------------------------------------


def test_heads_that_were_pinned_are_found_again():
    log = a_log(nodes=2)
    log.a_start(by=1)
    heads = [head_of(record) for record in log.records]
    assert check(log, pinned=heads).pinned == len(heads)
    assert check(log, pinned=[heads[2], heads[2], heads[4]]).pinned == 3


def test_a_head_of_a_journal_that_was_not_given_is_named():
    log = a_log(nodes=2)
    pin = head_of(log.records[2])
    broken = breaks_of(journals(log)[:1], "pinned at position 3", pinned=[pin], partial=True)
    assert (broken.position, pin.server_id in broken.reason) == (4, True)


@pytest.mark.parametrize("member", ["server_id", "seq", "hash", "jws"])
def test_a_pinned_head_counts_with_every_member(member):
    log = a_log()
    head = head_of(log.records[1])
    other = msgspec.structs.replace(head, **{member: 9 if member == "seq" else "other"})
    assert breaks(log, "another line was pinned at position 2", pinned=[other]).line == 2


# -- what a node may not sign ---------------------------------------------------------------------


def resealed(log: ALog, index: int, **changes) -> None:
    """Let the node sign its line otherwise: what only a node that errs or lies can do."""
    record = log.records[index]
    node = next(n for n in log.nodes if record in n.records)
    members = {name: getattr(record.envelope, name) for name in Envelope.__struct_fields__}
    other = seal_line(Envelope(**{**members, **changes}), node.key)
    node.records[node.records.index(record)] = other
    log.records[index] = other


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"at": "2020-01-01T00:00:00.000000Z"}, "earlier than 2026-11-23T12:00:00.500000Z at"),
        ({"at": "2026-11-23T12:00:01Z"}, "not a time in UTC with microseconds"),
        ({"at": "2026-11-23T12:00:01.000000+01:00"}, "not a time in UTC"),
        ({"version": 3}, "stream node/.* has version 3 after 1"),
        ({"version": 1}, "has version 1 after 1"),
        ({"prev": ZERO_HASH}, "prev does not match the hash of line 2"),
        ({"seq": 2}, "seq 2 after seq 2"),
        ({"seq": 4}, "seq 3 is missing"),
        ({"head": ZERO_HASH}, "head does not match the hash of node1.corp.internal.log:2"),
        ({"position": 2}, "position 2 after position 2"),
        ({"position": 4}, "position 3 is in no journal given"),
        ({"server_id": "somebody-else"}, "by node somebody-else, but this is node 00000001"),
    ],
    ids=range(12),
)
def test_a_line_that_contradicts_the_ones_before_is_refused_although_signed(changes, match):
    log = a_log()
    log.a_start()
    resealed(log, 2, **changes)
    assert breaks(log, match).line == 3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"prev": "1" * 64}, "prev of the first line is not 64 zeros"),
        ({"head": "1" * 64}, "head of the first line is not 64 zeros"),
        ({"seq": 2}, "begins with seq 2, not 1"),
        ({"type": "node.started"}, "begins the log with installation.created"),
        ({"position": 2}, "a journal begins with node.registered|position 1 is in no"),
    ],
    ids=range(5),
)
def test_the_first_line_begins_everything(changes, match):
    log = a_log()
    resealed(log, 0, **changes)
    assert breaks(log, match).line == 1


def test_a_row_of_a_database_is_named_without_a_line():
    log = a_log(nodes=2)
    log.a_start(by=1)
    rows = [Line("db.sqlite", 0, 0, record.line) for record in log.nodes[1].records]
    resealed(log, 4, prev="1" * 64)
    rows[1] = Line("db.sqlite", 0, 0, log.records[4].line)
    broken = breaks_of([lines(log.nodes[0]), rows], "prev does not match the hash of seq 1")
    assert str(broken).startswith("db.sqlite: seq 2, position 5: ")
    log = a_log(nodes=2)
    rows = [Line("db.sqlite", 0, 0, record.line) for record in log.nodes[1].records]
    resealed(log, 3, head="1" * 64)
    breaks_of([lines(log.nodes[0]), rows], "head does not match the hash of the line at position 3")


# -- trust ----------------------------------------------------------------------------------------


def kid(log: ALog, node: int) -> str:
    return log.nodes[node].key.public.kid


def test_given_keys_must_have_begun_the_log():
    log, stranger = a_log(), SigningKey.from_seed(b"s" * 32).public
    assert check(log, keys=read_key_set(log.key_set())).lines == 2
    assert breaks(log, "which is not one that was given", keys={stranger.kid: stranger}).line == 1
    assert check(log, anchor=kid(log, 0)).lines == 2
    assert breaks(log, "which is not one that was given", anchor=stranger.kid).line == 1


def test_a_log_begun_by_a_given_key_may_bring_in_others():
    log = a_log(nodes=2)
    anchor = log.nodes[0].key.public
    assert check(log, keys={anchor.kid: anchor}).lines == log.position


def test_a_node_that_nobody_endorsed_breaks_the_log_unless_it_is_trusted_by_hand():
    log = a_log()
    log.a_node(endorsed=False)
    log.a_start(by=1)
    broken = breaks(log, "which no trusted node has endorsed")
    assert (broken.file, broken.line, broken.position) == ("node2.corp.internal.log", 1, 3)
    assert kid(log, 1) in broken.reason
    assert check(log, trusted=[kid(log, 1)]).nodes[1].trusted
    assert check(log, keys=read_key_set(log.key_set())).nodes[1].trusted


def test_an_endorsement_may_come_before_the_node_and_long_after():
    before = a_log()
    joining = ANode(2)
    before.say(NodeEndorsed(joining.server_id, joining.key.public.kid), f"node/{joining.server_id}")
    before.a_node(endorsed=False)
    assert check(before).nodes[1].trusted
    after = a_log()
    node = after.a_node(endorsed=False)
    after.a_start(by=1)
    after.say(NodeEndorsed(node.server_id, kid(after, 1)), f"node/{node.server_id}")
    assert check(after).nodes[1].trusted


def test_a_node_cannot_endorse_itself_nor_can_one_that_is_not_trusted():
    log = a_log()
    for _ in range(2):
        log.a_node(endorsed=False)
    for by, of in itertools.permutations((1, 2)):
        fact = NodeEndorsed(log.nodes[of].server_id, kid(log, of))
        log.say(fact, f"node/{log.nodes[of].server_id}", by=by)
    fact = NodeEndorsed(log.nodes[1].server_id, kid(log, 1))
    log.say(fact, f"node/{log.nodes[1].server_id}", by=1)
    breaks(log, "which no trusted node has endorsed")


def test_an_endorsement_is_of_one_key():
    log = a_log()
    node = log.a_node(endorsed=False)
    log.say(NodeEndorsed(node.server_id, "another-key"), f"node/{node.server_id}")
    breaks(log, "which no trusted node has endorsed")


def registered(log: ALog, **changes) -> NodeRegistered:
    node = log.nodes[-1]
    key = node.key.public
    fact = NodeRegistered(INSTALLATION, node.server_id, node.hostname, key.kid, key.x)
    return msgspec.structs.replace(fact, **changes)


STRANGER = SigningKey.from_seed(b"s" * 32).public


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"server_id": "another"}, "registers node another"),
        ({"kid": STRANGER.kid}, f"registers node .* with key {STRANGER.kid}"),
        ({"x": STRANGER.x}, f"the registered key has id {STRANGER.kid}"),
        ({"x": "A==="}, "base64"),
        ({"installation_id": "another"}, "the node is of installation another, the log of 1a57"),
    ],
    ids=range(5),
)
def test_a_registration_is_of_the_node_that_signs_it(changes, match):
    log = a_log(nodes=2)
    resealed(log, 2, data=encode(registered(log, **changes)))
    broken = breaks(log, match)
    assert (broken.file, broken.line) == ("node2.corp.internal.log", 1)


def test_a_node_has_one_key():
    log = a_log()
    log.nodes[0].key = SigningKey.from_seed(b"s" * 32)
    log.a_start()
    broken = breaks(log, f"signed with key {STRANGER.kid}, but node .* has key")
    assert broken.line == 3


def test_a_node_may_register_again_with_its_key():
    log = a_log()
    log.say(registered(log, hostname="moved.corp.internal"), f"node/{log.nodes[0].server_id}")
    assert check(log).nodes[0].hostname == "moved.corp.internal"


def test_a_log_begins_once():
    log = a_log()
    log.say(InstallationCreated(INSTALLATION, kid(log, 0), "single"), "installation")
    assert breaks(log, "installation.created can only be at position 1").line == 3


def test_the_anchor_is_the_key_that_signed_the_first_line():
    log = a_log()
    other = InstallationCreated(INSTALLATION, STRANGER.kid, "single")
    resealed(log, 0, data=encode(other))
    assert breaks(log, f"the anchor is to be key {STRANGER.kid}").line == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"schema": 2}, "has schema 2"),
        ({"data": msgspec.Raw(b"{}")}, "installation.created schema 1"),
    ],
    ids=range(2),
)
def test_a_trust_event_that_cannot_be_read_is_refused(changes, match):
    log = a_log()
    resealed(log, 0, **changes)
    assert breaks(log, match).line == 1


def test_the_second_line_tells_the_first_one_s_key_unless_it_was_given():
    log = ALog()
    log.nodes.append(ANode(1))
    log.say(InstallationCreated(INSTALLATION, kid(log, 0), "single"), "installation")
    assert breaks(log, "which was not given, and no line tells").line == 1
    assert check(log, keys=read_key_set(log.key_set())).lines == 1
    log.say(NodeStopped("boot"), "node/1")
    broken = breaks(log, "the log's second line must be node.registered, to tell key")
    assert broken.line == 2
    assert check(log, keys=read_key_set(log.key_set())).lines == 2


def test_a_second_line_that_registers_rubbish_does_not_hide_the_first_one_s_change():
    log = a_log()
    resealed(log, 1, data=msgspec.Raw(b"{}"), prev="1" * 64)
    assert breaks(log, "prev does not match the hash of line 1").line == 2
