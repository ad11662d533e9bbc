"""The one way to change anything: a command in, its events stored, then the answer."""

from certeasy.commit.command import (
    Command,
    Committed,
    GuardFailed,
    NonceUsed,
    PoisonousCommand,
    Unavailable,
    UsedNonce,
)
from certeasy.commit.committer import Committer, Place, Standing

__all__ = [
    "Command",
    "Committed",
    "Committer",
    "GuardFailed",
    "NonceUsed",
    "Place",
    "PoisonousCommand",
    "Standing",
    "Unavailable",
    "UsedNonce",
]
