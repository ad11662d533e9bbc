"""What may be done about nodes, and what is refused and why."""

from datetime import timedelta

import msgspec
import pytest

from certeasy.cluster.invitations import NoToken, accepted, key_of, token_of
from certeasy.decide import nodes
from certeasy.decide.decision import Decision
from certeasy.decide.nodes import NodeRefused
from events.nodes import NodeEndorsed, NodeInvited, NodeRegistered, NodeRetired
from events.signing import SigningKey
from projections.fold import fold
from projections.tables import WorkingRows
from tests.make.journals import BEGIN, INSTALLATION, ALog, ANode, a_log, rotation_of

NOBODY = "nobody"
NEW = SigningKey.from_seed(b"n" * 32)


def rows_of(log: ALog) -> WorkingRows:
    rows = WorkingRows(lambda _table, _key: None)
    for record in log.records:
        fold(record, rows)
    return rows


def registration(node: ANode) -> NodeRegistered:
    key = node.key.public
    return NodeRegistered(INSTALLATION, node.server_id, node.hostname, key.kid, key.x)


def a_retirement(node: ANode) -> NodeRetired:
    last = node.records[-1]
    return NodeRetired(node.server_id, last.envelope.seq, last.hash)


def test_an_endorsement_is_said_once_of_one_key_and_of_a_node_that_lives():
    log = a_log(nodes=2)
    one, two = log.nodes
    log.a_node(endorsed=False)
    three = log.nodes[2]
    kid = three.key.public.kid

    def endorse(server_id: str, kid: str, by: str = one.server_id) -> Decision:
        return nodes.endorse(rows_of(log), by=by, server_id=server_id, kid=kid)

    fact = NodeEndorsed(three.server_id, kid)
    assert endorse(three.server_id, kid).facts == ((f"node/{three.server_id}", fact),)
    assert endorse(NOBODY, kid).facts == ((f"node/{NOBODY}", NodeEndorsed(NOBODY, kid)),)
    assert endorse(two.server_id, two.key.public.kid) == Decision()
    log.say(NodeEndorsed(NOBODY, kid), f"node/{NOBODY}")
    assert endorse(NOBODY, kid) == Decision()
    with pytest.raises(NodeRefused, match=f"signs with key {kid}, not with {one.key.public.kid}"):
        endorse(three.server_id, one.key.public.kid)
    with pytest.raises(NodeRefused, match="is not endorsed itself"):
        endorse(NOBODY, kid, by=three.server_id)
    with pytest.raises(NodeRefused, match="has not registered yet"):
        endorse(NOBODY, kid, by=NOBODY)
    log.a_retirement(2)
    with pytest.raises(NodeRefused, match="was retired at 2026"):
        endorse(three.server_id, kid)


def test_an_endorsed_node_invites_and_no_other():
    log = a_log()
    log.a_node(endorsed=False)
    fact = NodeInvited(NEW.public.kid, NEW.public.x, "2026-11-24T12:00:00.000000Z")
    one, two = (node.server_id for node in log.nodes)
    decision = nodes.invite(rows_of(log), by=one, fact=fact)
    assert decision.facts == ((f"invitation/{fact.kid}", fact),)
    with pytest.raises(NodeRefused, match="is not endorsed itself"):
        nodes.invite(rows_of(log), by=two, fact=fact)


def test_a_node_joins_by_a_good_invitation_only():
    log = a_log()
    key, node = log.an_invitation(), ANode(2)
    fact = accepted(registration(node), key)
    assert nodes.join(rows_of(log), BEGIN, fact=fact).facts == ((f"node/{node.server_id}", fact),)
    for wrong, when, why in (
        (registration(node), BEGIN, "it was not invited"),
        (accepted(registration(node), NEW), BEGIN, "no endorsed node has made the invitation"),
        (fact, BEGIN + timedelta(days=2), "had expired at"),
        (msgspec.structs.replace(fact, kid="another"), BEGIN, "is not of this node and key"),
    ):
        with pytest.raises(NodeRefused, match=f"the token is not good here: .*{why}"):
            nodes.join(rows_of(log), when, fact=wrong)
    log.a_node(invitation=key)
    assert nodes.join(rows_of(log), BEGIN, fact=fact) == Decision()
    other = accepted(registration(ANode(3)), key)
    with pytest.raises(NodeRefused, match=f"was used by node {node.server_id}"):
        nodes.join(rows_of(log), BEGIN, fact=other)


def test_a_node_gives_up_the_key_that_it_has():
    log = a_log()
    fact = rotation_of(log.nodes[0], NEW)
    assert nodes.rotate_key(rows_of(log), fact=fact).facts == ((f"node/{fact.server_id}", fact),)
    log.a_key_rotation()
    with pytest.raises(NodeRefused, match=f"by now, not {fact.previous}"):
        nodes.rotate_key(rows_of(log), fact=fact)
    with pytest.raises(NodeRefused, match="has not registered yet"):
        nodes.rotate_key(rows_of(log), fact=msgspec.structs.replace(fact, server_id=NOBODY))


def test_a_node_is_retired_once_by_another_that_is_endorsed():
    log = a_log(nodes=2)
    log.a_node(endorsed=False)
    one, two, three = log.nodes
    fact = a_retirement(two)

    def retire(fact: NodeRetired, by: ANode = one) -> Decision:
        return nodes.retire(rows_of(log), by=by.server_id, fact=fact)

    assert retire(fact).facts == ((f"node/{two.server_id}", fact),)
    with pytest.raises(NodeRefused, match="cannot retire itself"):
        retire(fact, by=two)
    with pytest.raises(NodeRefused, match="is not endorsed itself"):
        retire(fact, by=three)
    with pytest.raises(NodeRefused, match="the log knows no node nobody"):
        retire(NodeRetired(NOBODY, 0, ""))
    log.a_retirement(1)
    assert retire(fact) == Decision()


def test_a_token_stands_for_a_key_and_tells_nothing_where_it_is_none():
    seed = b"t" * 32
    token = token_of(seed)
    assert key_of(f"  {token}\n").public.kid == SigningKey.from_seed(seed).public.kid
    for text in ("", token[:-1], token + "A", token.removeprefix("certeasy-"), token[:-1] + "?"):
        with pytest.raises(NoToken) as caught:
            key_of(text)
        assert text[14:30] not in str(caught.value) or not text[14:30]
