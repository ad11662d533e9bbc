"""Keys and nodes over time: rotated, invited, endorsed, retired; and every step that is not so."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.envelope import Record
from events.nodes import NodeEndorsed, NodeInvited, NodeKeyRotated, NodeRetired, doubt
from events.signing import BadSignature, SigningKey, read_key_set
from events.statements import check as check_statement
from events.statements import joining, state, succeeding
from journal.breaks import JournalBroken, Line
from journal.verify import Summary, verify
from projections.fold import fold
from projections.nodes import INVITATIONS, NODE_KEYS, NODES
from projections.tables import WorkingRows
from tests.make.journals import INSTALLATION, ALog, ANode, a_log, rotation_of

STRANGER = SigningKey.from_seed(b"s" * 32)


def lines(node: ANode) -> list[Line]:
    name = f"{node.hostname}.log"
    return [Line(name, n, 0, record.line) for n, record in enumerate(node.records, start=1)]


def check(log: ALog, **options) -> Summary:
    return verify([lines(node) for node in log.nodes], threads=1, **options)


def breaks_at(log: ALog, record: Record, match: str, **options) -> None:
    """Assert that the proof fails at this very line, for this reason."""
    with pytest.raises(JournalBroken, match=match) as broken:
        check(log, **options)
    line = record.envelope
    node = next(node for node in log.nodes if node.server_id == line.server_id)
    place = (broken.value.file, broken.value.line, broken.value.position)
    assert place == (f"{node.hostname}.log", line.seq, line.position), broken.value


def breaks_at_last(log: ALog, match: str, **options) -> None:
    breaks_at(log, log.records[-1], match, **options)


def folded(log: ALog) -> WorkingRows:
    rows = WorkingRows(lambda _table, _key: None)
    for record in log.records:
        fold(record, rows)
    return rows


def node_stream(log: ALog, of: int) -> str:
    return f"node/{log.nodes[of].server_id}"


# -- any history ---------------------------------------------------------------------------------

STEPS = ("start", "rotate", "invite and join", "join", "endorse", "retire")


@st.composite
def histories(draw: st.DrawFn) -> ALog:
    """Return a log in which nodes come, change their keys, vouch for each other, and go."""
    log = a_log()
    alive, doubtful = [0], list[int]()
    for step in draw(st.lists(st.sampled_from(STEPS), max_size=20)):
        trusted = [n for n in alive if n not in doubtful]
        by = draw(st.sampled_from(trusted))
        if step == "start":
            log.a_start(by=draw(st.sampled_from(alive)))
        elif step == "rotate":
            log.a_key_rotation(by=draw(st.sampled_from(alive)))
        elif step == "invite and join":
            log.a_node(invitation=log.an_invitation(by=by))
            alive.append(len(log.nodes) - 1)
        elif step == "join":
            log.a_node(endorsed=False)
            alive.append(len(log.nodes) - 1)
            doubtful.append(len(log.nodes) - 1)
        elif step == "endorse" and doubtful:
            log.an_endorsement(doubtful.pop(), by=by)
        elif step == "retire" and len(alive) > len(doubtful) + 1:
            gone = draw(st.sampled_from([n for n in alive if n != by]))
            log.a_retirement(gone, by=by)
            alive.remove(gone)
            if gone in doubtful:
                doubtful.remove(gone)
                log.an_endorsement(gone, by=by)  # its lines stay, so somebody vouches for them
    for n in doubtful:
        log.an_endorsement(n, by=next(n for n in alive if n not in doubtful))
    return log


@given(histories())
def test_every_history_of_keys_and_nodes_is_proven_from_the_anchor_and_folded_alike(log):
    summary = check(log)
    assert summary.lines == log.position
    rows = folded(log)
    for node, proven in zip(log.nodes, summary.nodes, strict=True):
        row = rows.get(NODES, node.server_id)
        assert row is not None
        assert (row.kid, row.endorsed) == (node.key.public.kid, 1)
        assert (proven.kid, proven.trusted) == (row.kid, True)
        for record in node.records:
            key = rows.get(NODE_KEYS, node.server_id, record.kid)
            assert key is not None
            assert key.first_seq <= record.envelope.seq <= (key.last_seq or log.position)


@given(histories(), st.data())
def test_any_key_that_the_first_node_ever_had_is_enough_to_begin_with(log, data):
    node = log.nodes[0]
    key = data.draw(st.sampled_from([*node.given_up, node.key])).public
    assert check(log, keys={key.kid: key}).lines == log.position
    assert check(log, keys=read_key_set(log.key_set())).lines == log.position


@given(histories(), st.data())
def test_a_line_signed_with_any_other_key_breaks_every_history(log, data):
    node = data.draw(st.sampled_from(log.nodes))
    others = [key for each in log.nodes for key in (*each.given_up, each.key)]
    wrong = [key for key in [*others, STRANGER] if key.public.kid != node.key.public.kid]
    node.key = data.draw(st.sampled_from(wrong))
    log.a_start(by=log.nodes.index(node))
    breaks_at_last(log, "signed with key .*, but node .* has key|was retired")


def test_an_endorsement_before_the_node_comes_is_folded_as_it_is_proven():
    log, node = a_log(), ANode(2)
    log.say(NodeEndorsed(node.server_id, node.key.public.kid), f"node/{node.server_id}")
    log.a_node(endorsed=False)
    assert check(log).nodes[1].trusted
    row = folded(log).get(NODES, node.server_id)
    assert row is not None
    assert row.endorsed == 1


# -- rotation ------------------------------------------------------------------------------------


def test_each_line_behind_a_rotation_is_signed_with_the_new_key():
    log = a_log(nodes=2)
    old = log.nodes[1].key
    record = log.a_key_rotation(by=1)
    assert record.kid == old.public.kid
    log.a_start(by=1)
    assert check(log).nodes[1].kid == log.nodes[1].key.public.kid != old.public.kid


def test_a_line_by_the_old_key_behind_the_rotation_is_refused():
    log = a_log()
    old = log.nodes[0].key
    log.a_key_rotation()
    log.a_start()
    log.nodes[0].key = old
    log.a_start()
    breaks_at_last(log, f"signed with key {old.public.kid}, .* for which it gave that up")


def test_a_rotation_signed_with_the_new_key_is_refused():
    log = a_log()
    node, new = log.nodes[0], SigningKey.from_seed(b"n" * 32)
    fact = rotation_of(node, new)
    node.key = new
    log.say(fact, node_stream(log, 0))
    breaks_at_last(log, f"signed with key {new.public.kid}, but node")


def rotated(log: ALog, fact: NodeKeyRotated, new: SigningKey, by: int = 0) -> None:
    log.say(fact, node_stream(log, by), by=by)
    log.nodes[by].key = new


def changed(**changes: str):
    def change(log: ALog, new: SigningKey) -> NodeKeyRotated:
        return msgspec.structs.replace(rotation_of(log.nodes[0], new), **changes)

    return change


def for_another_node(log: ALog, new: SigningKey) -> NodeKeyRotated:
    return rotation_of(log.nodes[1], new)


def to_its_own_key(log: ALog, _new: SigningKey) -> NodeKeyRotated:
    return rotation_of(log.nodes[0], log.nodes[0].key)


def without_the_new_key(log: ALog, new: SigningKey) -> NodeKeyRotated:
    fact, node = rotation_of(log.nodes[0], new), log.nodes[0]
    word = state(node.key, succeeding(node.server_id, fact.kid, fact.previous))
    return msgspec.structs.replace(fact, jws=word)


def with_another_s_statement(log: ALog, new: SigningKey) -> NodeKeyRotated:
    fact = rotation_of(log.nodes[0], new)
    return msgspec.structs.replace(fact, jws=rotation_of(log.nodes[1], new).jws)


def badly_spelled(log: ALog, new: SigningKey) -> NodeKeyRotated:
    fact = rotation_of(log.nodes[0], new)
    return msgspec.structs.replace(fact, jws=fact.jws[:-1] + "_")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (changed(previous=STRANGER.public.kid), f"gives up key {STRANGER.public.kid} of node"),
        (changed(x=STRANGER.public.x), "has not stated that it takes over: the registered key has"),
        (changed(x="A"), "has not stated that it takes over"),
        (changed(jws=""), "has not stated that it takes over: not a detached JWS"),
        (for_another_node, "gives up key .* of node 00000002"),
        (to_its_own_key, "is or was this node's key already"),
        (without_the_new_key, "has not stated that it takes over: not a detached JWS by key"),
        (with_another_s_statement, "has not stated that it takes over: the signature is not by"),
        (badly_spelled, "has not stated that it takes over: the signature by key .* canonical"),
    ],
)
def test_a_rotation_that_is_not_of_both_keys_is_refused(make, match):
    log, new = a_log(nodes=2), SigningKey.from_seed(b"n" * 32)
    rotated(log, make(log, new), new)
    breaks_at_last(log, match)


def test_a_node_does_not_go_back_to_a_key_that_it_gave_up():
    log = a_log()
    old = log.nodes[0].key
    log.a_key_rotation()
    rotated(log, rotation_of(log.nodes[0], old), old)
    breaks_at_last(log, f"key {old.public.kid} is or was this node's key already")


def test_a_node_that_nobody_vouches_for_gains_nothing_by_a_rotation():
    log = a_log()
    node = log.a_node(endorsed=False)
    first = log.records[-1]
    log.a_key_rotation(by=1)
    log.a_start(by=1)
    breaks_at(log, first, f"signs with key {node.key.public.kid}, which no trusted node")
    trusted = [node.key.public.kid]
    assert check(log, trusted=trusted).nodes[1].trusted
    assert check(log, trusted=[node.given_up[0].public.kid]).nodes[1].trusted
    log.say(NodeEndorsed(node.server_id, node.given_up[0].public.kid), node_stream(log, 1))
    assert check(log).nodes[1].trusted
    row = folded(log).get(NODES, node.server_id)
    assert row is not None
    assert row.endorsed == 1


def test_a_stranger_s_key_is_not_enough_to_begin_with_after_a_rotation():
    log = a_log()
    log.a_key_rotation()
    stranger = STRANGER.public
    breaks_at(log, log.records[0], "not one that was given", keys={stranger.kid: stranger})
    later = log.nodes[0].key.public.kid
    breaks_at(log, log.records[0], "not one that was given", anchor=later)


# -- endorsement and invitation ------------------------------------------------------------------


def test_an_endorsement_by_a_node_that_is_not_trusted_there_counts_for_nothing():
    log = a_log()
    for _ in range(2):
        log.a_node(endorsed=False)
    log.an_endorsement(2, by=1)
    log.an_endorsement(1)
    third = log.nodes[2]
    breaks_at(log, third.records[0], f"node {third.server_id} .* no trusted node has endorsed")
    row = folded(log).get(NODES, third.server_id)
    assert row is not None
    assert row.endorsed == 0


def test_an_invited_node_is_endorsed_by_its_registration():
    log = a_log()
    node = log.a_node(invitation=log.an_invitation())
    log.a_node(invitation=log.an_invitation(by=1))
    assert [each.trusted for each in check(log).nodes] == [True, True, True]
    row = folded(log).get(INVITATIONS, log.records[2].event.kid)
    assert row is not None
    assert row.used_by == node.server_id


def doubted(log: ALog, match: str) -> None:
    """Assert that the last node came by an invitation that does not count, in proof and fold."""
    node = log.nodes[-1]
    breaks_at(log, node.records[0], f"no trusted node has endorsed \\({match}")
    row = folded(log).get(NODES, node.server_id)
    assert row is not None
    assert row.endorsed == 0
    log.an_endorsement(len(log.nodes) - 1)
    assert check(log).nodes[-1].trusted


def test_a_node_without_an_invitation_was_not_invited():
    log = a_log(nodes=2)
    assert doubt(None, "", log.records[2].event, "") == "it was not invited"


def test_an_invitation_is_good_for_one_node():
    log = a_log()
    invitation = log.an_invitation()
    first = log.a_node(invitation=invitation)
    log.a_node(invitation=invitation)
    doubted(log, f"the invitation {invitation.public.kid} was used by node {first.server_id}")


def test_an_invitation_expires():
    log = a_log()
    invitation = log.an_invitation(valid=timedelta(seconds=1))
    log.a_start()
    assert log.a_node(invitation=invitation)
    assert check(log).nodes[1].trusted
    log = a_log()
    invitation = log.an_invitation(valid=timedelta(seconds=1))
    for _ in range(4):
        log.a_start()
    log.a_node(invitation=invitation)
    doubted(log, f"the invitation {invitation.public.kid} had expired at 2026")


def test_an_invitation_by_a_node_that_is_not_trusted_there_counts_for_nothing():
    log = a_log()
    log.a_node(endorsed=False)
    invitation = log.an_invitation(by=1)
    log.an_endorsement(1)
    log.a_node(invitation=invitation)
    doubted(log, f"no endorsed node has made the invitation {invitation.public.kid}")


def test_an_invitation_is_not_made_longer_by_saying_it_again():
    log = a_log()
    invitation = log.an_invitation(valid=timedelta(0))
    expires = "2036-01-01T00:00:00.000000Z"
    fact = NodeInvited(invitation.public.kid, invitation.public.x, expires)
    log.say(fact, f"invitation/{fact.kid}")
    log.a_node(invitation=invitation)
    doubted(log, f"the invitation {fact.kid} had expired")


def test_an_invitation_without_a_key_lets_nobody_in():
    log = a_log()
    invitation = SigningKey.from_seed(b"i" * 32)
    fact = NodeInvited(invitation.public.kid, "A", "2036-01-01T00:00:00.000000Z")
    log.say(fact, f"invitation/{fact.kid}")
    log.a_node(invitation=invitation)
    doubted(log, f"the invitation {fact.kid} is not of this node and key")


class Forged(SigningKey):
    """A key that states something else than it is asked to."""

    def __init__(self, genuine: SigningKey, says: bytes) -> None:
        self._genuine, self._says = genuine, says
        self.public = genuine.public

    def sign(self, _payload: bytes) -> bytes:
        return self._genuine.sign(self._says)


@pytest.mark.parametrize("member", ["installation_id", "server_id", "kid"])
def test_an_invitation_is_of_one_installation_node_and_key(member):
    log = a_log()
    invitation, node = log.an_invitation(), ANode(2)
    told = {
        "installation_id": INSTALLATION,
        "server_id": node.server_id,
        "kid": node.key.public.kid,
    }
    log.a_node(invitation=Forged(invitation, joining(**{**told, member: "another"})))
    doubted(log, f"the invitation {invitation.public.kid} is not of this node and key")


def test_a_node_that_is_known_may_register_again_by_invitation():
    log = a_log()
    node = log.a_node(endorsed=False)
    log.a_registration(1, log.an_invitation())
    assert check(log).nodes[1].trusted
    row = folded(log).get(NODES, node.server_id)
    assert row is not None
    assert row.endorsed == 1


# -- retirement ----------------------------------------------------------------------------------


def test_a_retired_node_has_no_further_line():
    log = a_log(nodes=3)
    log.a_start(by=1)
    log.a_retirement(1, by=2)
    log.a_start()
    assert check(log).lines == log.position
    row = folded(log).get(NODES, log.nodes[1].server_id)
    assert row is not None
    assert (row.retired, row.retired_by) == (log.records[-2].envelope.at, log.nodes[2].server_id)
    log.a_start(by=1)
    breaks_at_last(log, f"was retired at position {log.position - 2} by node .* seq 2 as its last")


def test_a_node_that_is_retired_before_it_came_does_not_come():
    log = a_log()
    node = ANode(2)
    log.say(NodeRetired(node.server_id, 0, "0" * 64), f"node/{node.server_id}")
    assert check(log).lines == 3
    log.a_node()
    breaks_at(log, log.nodes[1].records[0], "was retired at position 3")


@pytest.mark.parametrize("changes", [{"last_seq": 1}, {"last_hash": "1" * 64}])
def test_a_retirement_names_the_last_line(changes):
    log = a_log(nodes=2)
    log.a_start(by=1)
    last = log.nodes[1].records[-1]
    fact = NodeRetired(log.nodes[1].server_id, last.envelope.seq, last.hash)
    log.say(msgspec.structs.replace(fact, **changes), node_stream(log, 1))
    breaks_at_last(log, f"but its last line is seq 2, hash {last.hash}")


def test_a_node_cannot_retire_itself():
    log = a_log(nodes=2)
    log.a_retirement(1, by=1)
    breaks_at_last(log, "a node cannot retire itself")


def test_a_node_that_is_not_trusted_retires_nobody():
    log = a_log()
    log.a_node(endorsed=False)
    log.a_retirement(0, by=1)
    breaks_at_last(log, "no trusted node has endorsed its key")


# -- statements ----------------------------------------------------------------------------------


def test_a_statement_is_spelled_once():
    payload = joining(INSTALLATION, "node", "kid")
    word = state(STRANGER, payload)
    check_statement(word, STRANGER.public, payload)
    header, _, signature = word.partition("..")
    for other in ("", "..", header, f"{header}.{signature}", f"{word}A", f" {word}"):
        with pytest.raises(BadSignature):
            check_statement(other, STRANGER.public, payload)
    with pytest.raises(BadSignature):
        check_statement(word, a_log().nodes[0].key.public, payload)


# -- a key that was stolen -----------------------------------------------------------------------


@pytest.mark.parametrize("stolen", ["given up", "of a node that is gone", "in use"])
def test_a_key_is_of_one_node_also_where_it_was_given_by_hand(stolen: str) -> None:
    log = a_log(nodes=2)
    key = log.nodes[1].key
    if stolen == "given up":
        log.a_key_rotation(by=1)
    if stolen == "of a node that is gone":
        log.a_retirement(1)
    given = read_key_set(log.key_set()) | {key.public.kid: key.public}
    check(log, keys=given)
    thief = ANode(3)
    thief.key = key
    log.nodes.append(thief)
    log.a_registration(2)
    breaks_at_last(log, f"key {key.public.kid} is or was the key of node", keys=given)


def test_a_node_cannot_change_to_another_node_s_key() -> None:
    log = a_log(nodes=2)
    key = log.nodes[1].key
    log.a_retirement(1)
    thief = log.a_node(endorsed=False)
    log.say(rotation_of(thief, key), node_stream(log, 2), by=2)
    breaks_at_last(
        log, f"key {key.public.kid} is or was the key of node", keys=read_key_set(log.key_set())
    )
