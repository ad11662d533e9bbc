"""A node's signing key given up for a new one.

(1) The new key is written beside the old one, durably.
(2) `node.key-rotated` is committed, signed with the old key, stated by the new one. With that
    COMMIT the new key is the node's.
(3) The line is in the journal.
(4) The new key's file takes the old one's place: the old private key is gone.

Whatever ends this between two steps, the next start (`boot.level`) goes on from there: before (2)
it forgets the new key, after (2) it writes the line that the journal lacks and does (4).
"""

from certeasy.cluster.boot import Opened
from certeasy.commit import Command, Committer
from certeasy.decide import nodes
from certeasy.ids import Ids
from events.envelope import Actor
from events.nodes import NodeKeyRotated
from events.statements import state, succeeding


def rotate_key(node: Opened, committer: Committer, actor: Actor, ids: Ids) -> str:
    """Do (1) to (4); return the new key's id. The committer is stopped: it has the old key.

    Raises as `Committer.submit` does; it is then for the next start to go on or to forget.
    """
    who = node.identity
    new = who.make_next_key(ids)
    kid, previous = new.public.kid, who.key.public.kid
    word = state(new, succeeding(who.server_id, kid, previous))
    fact = NodeKeyRotated(who.server_id, kid, new.public.x, previous, word)
    committer.submit(Command(lambda rows, _now: nodes.rotate_key(rows, fact=fact), actor))
    committer.stop()
    who.follow()
    who.settle()
    return kid
