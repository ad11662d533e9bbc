"""How a client proves that a name is its own: the seam that every kind of challenge fits into.

A validator looks at the network and says what it saw. It decides nothing about orders, keeps no
state and never raises for what a stranger's host did: a failure is a value, with the ACME problem,
a sentence for the person who reads the client's log, and the evidence for the event. One instance
serves all workers.
"""

from typing import Protocol

import msgspec

from certeasy.decide.problems import Problem


class Asked(msgspec.Struct, frozen=True):
    """What is to be proven, and by whom.

    `name` is the identifier: a name in lower case without a dot at the end and without `*.`, which
    `wildcard` stands for, or an address where `identifier_type` is `ip`. `token` and
    `key_authorization` are those of RFC 8555 section 8.1. `account_urls` are the URLs that the
    account has, the one that clients are told first.
    """

    name: str
    token: str
    key_authorization: str
    account_urls: tuple[str, ...] = ()
    identifier_type: str = "dns"
    wildcard: bool = False


class CaaSeen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the CAA records of a name mean.

    `verdict` is `permits`, `forbids` or `unknown`, `reason` why, `at` the name that has the records
    that count, `names` the last one asked for and what it is an alias of, `records` their hashes
    (hex). `transient`: asking again may tell.
    """

    verdict: str
    reason: str = ""
    at: str = ""
    names: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    transient: bool = False


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen, bounded in size and free of secrets, fit for an event.

    `addresses` are those the last name resolved to, `address` and `port` where the last connection
    went (or was tried). `urls` are all that were asked for, the first first. `status` is the last
    HTTP status; `excerpt_sha256` is the hash (hex) of the bytes of the last body that were read.

    Of TLS: `alpn` is the protocol that the server chose, `certificate_sha256` the hash (hex) of the
    certificate (DER) that it showed.

    Of the DNS: `names` are those that were asked for, each an alias of the next; `zones` those
    whose own servers were asked, `servers` those who answered, `rcode` the last answer's code,
    `signed_by` the zones whose signatures were checked, `records` the hashes (hex) of the values
    that were there, and `record_count` how many there were. `caa` is what CAA records mean.

    `fault` is the kind of an error of this server's own, by which the look ended.
    """

    addresses: tuple[str, ...] = ()
    address: str = ""
    port: int = 0
    urls: tuple[str, ...] = ()
    status: int = 0
    excerpt_sha256: str = ""
    names: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    rcode: str = ""
    signed_by: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    record_count: int = 0
    alpn: str = ""
    certificate_sha256: str = ""
    caa: CaaSeen | None = None
    fault: str = ""


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

    def validate(self, asked: Asked) -> Validated | Failed:
        """Look whether the holder of the name shows what was asked for. Blocks for a bounded
        time."""
        ...
