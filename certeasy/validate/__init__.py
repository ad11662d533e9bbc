"""How a client proves that a name is its own: the seam that every kind of challenge fits into.

A validator looks at the network and says what it saw. It decides nothing about orders, keeps no
state and never raises for what a stranger's host did: a failure is a value, with the ACME problem,
a sentence for the person who reads the client's log, and the evidence for the event. One instance
serves all workers.
"""

from typing import Protocol

import msgspec

from certeasy.decide.problems import Problem


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen, bounded in size and free of secrets, fit for an event.

    `addresses` are those the last name resolved to, `address` and `port` where the last connection
    went (or was tried). `urls` are all that were asked for, the first first. `status` is the last
    HTTP status; `excerpt_sha256` is the hash (hex) of the bytes of the last body that were read.
    """

    addresses: tuple[str, ...] = ()
    address: str = ""
    port: int = 0
    urls: tuple[str, ...] = ()
    status: int = 0
    excerpt_sha256: str = ""


class Validated(msgspec.Struct, frozen=True):
    """The challenge was answered as it should be."""

    evidence: Evidence


class Failed(msgspec.Struct, frozen=True):
    """It was not. `detail` is one line for the client; `transient`: asking again may help."""

    problem: Problem
    detail: str
    evidence: Evidence
    transient: bool = False


class Validator(Protocol):
    """One kind of challenge. Safe to share between threads."""

    def validate(self, name: str, token: str, key_authorization: str) -> Validated | Failed:
        """Look whether the holder of `name` shows `key_authorization`.

        `name` is in lower case, without a dot at the end and without `*.`. `token` and
        `key_authorization` are those of RFC 8555 section 8.1. Blocks for a bounded time.
        """
        ...
