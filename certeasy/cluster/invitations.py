"""The token that a new node joins with, and what is made of it.

A token is the seed of an Ed25519 key, used once: the log has its public half (`node.invited`), and
whoever has the token can sign that a node, with its key, may join. It is a secret until it was used
or has expired, and stands in no event and no file of ours.
"""

from events.nodes import Invitation, NodeRegistered
from events.signing import SigningKey, base64url, from_base64url
from events.statements import joining, state

PREFIX = "certeasy-join-"  # by which a secret scanner, or a person, knows one
SEED_LENGTH = 32


class NoToken(ValueError):
    """A text is no token."""


def token_of(seed: bytes) -> str:
    """Return the token that stands for these 32 random bytes."""
    return PREFIX + base64url(seed)


def key_of(token: str) -> SigningKey:
    """Return the invitation's key; raises NoToken, without a word of what was given."""
    try:
        seed = from_base64url(token.strip().removeprefix(PREFIX))
    except ValueError:
        seed = b""
    if not token.strip().startswith(PREFIX) or len(seed) != SEED_LENGTH:
        raise NoToken(f"that is no token: one begins with {PREFIX} and has 43 characters behind it")
    return SigningKey.from_seed(seed)


def accepted(fact: NodeRegistered, key: SigningKey) -> NodeRegistered:
    """Return the registration with the invitation's word that this node may join."""
    word = state(key, joining(fact.installation_id, fact.server_id, fact.kid))
    return NodeRegistered(
        fact.installation_id,
        fact.server_id,
        fact.hostname,
        fact.kid,
        fact.x,
        Invitation(key.public.kid, word),
    )
