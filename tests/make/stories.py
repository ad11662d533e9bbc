"""What happens in a log, told in one go: stories that a golden journal or a test is about.

    log = a_log()
    every_story(log)

Like the sentences that they are made of, they always give the same bytes.
"""

import hashlib
from collections.abc import Callable
from datetime import timedelta

from events.accounts import AccountCreated, AccountRevoked
from events.authorities import AuthorityFailed, AuthorityRecovered
from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateRevoked,
    RenewalRequested,
    RevocationFailed,
    RevocationPublished,
)
from events.envelope import Actor, Record, timestamp
from events.license import (
    ColdStartExtended,
    ColdStartInitialised,
    ColdStartSwitched,
    EvaluationBegun,
    ForceGraceGranted,
    LicenseAcknowledged,
    LicenseInstalled,
    LicenseRevoked,
    LicenseStateChanged,
)
from events.orders import (
    IssuanceAbandoned,
    IssuanceFailed,
    IssuanceInDoubt,
    IssuancePending,
    IssuanceSearched,
    IssuanceSubmitted,
    OrderExpired,
    OrderInvalidated,
    Problem,
)
from events.recovery import AccountRecovered, CertificateRecovered, LogForked
from events.registry import Event
from events.retention import RetentionApplied
from tests.make.journals import ALog


def every_story(log: ALog) -> None:
    """Let the first account do everything that an account can."""
    log.an_issuer()
    account = log.an_account()
    order = log.an_order("web.corp.internal", "www.corp.internal", account=account)
    log.a_revocation(order)
    log.a_failed_order("down.corp.internal", account=account)
    log.a_denied_order("odd.corp.internal", account=account)
    log.an_account_s_end(account)


def later_stories(log: ALog) -> None:
    """Let happen what later versions brought, and the first golden journals do not have."""
    account = log.an_account()
    log.a_proof_ahead("ahead.corp.internal", account=account)
    log.a_known_order("known.corp.internal", account=account)
    first, second = a_renewal(log)
    a_campaign(log, first, second)
    log.a_given_up_order("up.corp.internal", account=account)
    log.an_expired_order("late.corp.internal", "later.corp.internal", account=account)
    log.a_key_change(account)
    bindings(log)
    doubts(log)
    an_inventory(log)
    a_trouble(log, "lab")
    log.say(
        AuthorityFailed("other", "the RPC server is unavailable", "0x800706ba"), "authority/other"
    )
    what_leaves(log)
    licenses(log)


def a_renewal(log: ALog) -> tuple[str, str]:
    """Let an account renew a certificate; return both orders' ids."""
    account = log.an_account()
    first = log.an_order("renewed.corp.internal", account=account)
    return first, log.an_order("renewed.corp.internal", account=account, replaces=first)


def a_campaign(log: ALog, *orders: str, authority: str = "lab") -> str:
    """Let an administrator ask for certificates to be renewed; return the campaign's id."""
    campaign = log.new_id()
    start, end = timestamp(log.now), timestamp(log.now + timedelta(days=2))
    fact = RenewalRequested(campaign, orders, start, end, authority=authority)
    actor = Actor("administrator", sealed=log.sealed("administrator/1", "admin"))
    log.say(fact, f"renewal/{campaign}", actor=actor)
    return campaign


def doubts(log: ALog) -> None:
    """Let answers be lost, requests wait for people, twins be found, and authorities be told."""
    account = log.an_account()
    found, untold, settled = (
        a_lost_answer(log, f"{name}.lost.corp.internal", account=account)
        for name in ("found", "untold", "settled")
    )
    log.a_twin(found, 1, b"the twin")
    published(log, found, b"the twin")
    never = IssuanceSearched(1, "lab", settled=False, reason="the CA lets nobody look")
    log.say(never, f"order/{untold}")
    log.say(IssuanceAbandoned(1, "lab", "its number was learnt", "9"), f"order/{untold}")
    denied = IssuanceSearched(1, "lab", settled=True, reason="it was denied")
    log.say(denied, f"order/{settled}")
    revoked = CertificateRevoked(untold, log.serials[untold], 1, "account", publish=True)
    log.say(revoked, f"certificate/{untold}", actor=log.actor(account))

    waits = log.a_submitted_order("waits.corp.internal", account=account)
    log.say(IssuancePending(1, "lab", "12"), f"order/{waits}")
    given_up = log.a_submitted_order("given-up.corp.internal", account=account)
    error = Problem("urn:ietf:params:acme:error:unauthorized", "nobody approved it", 403)
    for fact in (
        IssuancePending(1, "lab", "13"),
        IssuanceAbandoned(1, "lab", "nobody approved it", "13"),
        OrderInvalidated("authority", error),
    ):
        log.say(fact, f"order/{given_up}")
    log.a_twin(given_up, 1, b"approved late", publish=False)

    denied_ = log.a_submitted_order("denied.corp.internal", account=account)
    failed = IssuanceFailed(1, "lab", "denied by policy module", True, "0x80094012", "14")
    log.say(failed, f"order/{denied_}")
    log.say(OrderInvalidated("authority", error), f"order/{denied_}")
    wrong = log.a_submitted_order("wrong.corp.internal", account=account)
    mismatch = CertificateMismatched(
        wrong, "lab", 1, "is for another name", b"wrong", "77", "15", publish=True
    )
    log.say(mismatch, f"certificate/{wrong}")
    log.say(OrderInvalidated("authority", error), f"order/{wrong}")
    published(log, wrong, b"wrong", refused=True)


def a_lost_answer(log: ALog, name: str, *, account: str) -> str:
    """Let an answer be lost, the attempt given up, and another one bring the certificate."""
    order = log.a_submitted_order(name, account=account)
    stream = f"order/{order}"
    log.say(IssuanceInDoubt(1, "lab", "the connection was cut"), stream)
    log.say(IssuanceAbandoned(1, "lab", "the CA lets nobody look"), stream)
    log.say(IssuanceSubmitted(2, "lab", "0" * 64, "7"), stream)
    log.an_issuance(order, name, account=account, attempt=2)
    return order


def published(log: ALog, order: str, leaf: bytes, *, refused: bool = False) -> Record:
    """Let the authority revoke a certificate, or refuse to."""
    serial, sha256 = "77", hashlib.sha256(leaf).hexdigest()
    fact: Event = RevocationPublished(order, "lab", serial, sha256)
    if refused:
        fact = RevocationFailed(order, "lab", serial, sha256, "access is denied", "0x80070005")
    return log.say(fact, f"certificate/{order}")


def an_inventory(log: ALog) -> None:
    """Let an administrator revoke a certificate, and close its account."""
    account = log.an_account()
    order = log.an_order("gone.corp.internal", account=account)
    revoked = CertificateRevoked(order, log.serials[order], 9, "administrator", publish=True)
    log.say(revoked, f"certificate/{order}", actor=log.an_administrator())
    log.say(AccountRevoked(account), f"account/{account}", actor=log.an_administrator())


def what_leaves(log: ALog) -> None:
    """Let an order with its certificate leave the tables, one that failed, a proof, and a
    certificate that was revoked."""
    account = log.an_account()
    first, second = a_renewal(log)
    failed = log.a_failed_order("no.corp.internal", account=account)
    proof = log.a_proof_ahead("proof.corp.internal", account=account)
    order = log.an_order("revoked.corp.internal", account=account)
    revoked = CertificateRevoked(order, log.serials[order], 4, "account", publish=True)
    log.say(revoked, f"certificate/{order}", actor=log.actor(account))
    log.now += timedelta(days=8)
    ran_out = Problem("urn:ietf:params:acme:error:unauthorized", "the order expired", 403)
    log.say(OrderExpired(ran_out), f"order/{proof}")
    published = log.a_publication(order)
    a_retention(log, first, failed, proof)
    a_retention(log, second, order, revocations=(published,))


def a_retention(log: ALog, *orders: str, revocations: tuple[str, ...] = ()) -> Record:
    """Let half a year pass, and orders leave the tables."""
    cutoff = timestamp(log.now + timedelta(days=180))
    log.now += timedelta(days=200)
    return log.say(RetentionApplied(cutoff, orders, revocations), "retention")


def a_trouble(log: ALog, authority: str) -> None:
    """Let an authority fail and answer again."""
    log.say(AuthorityFailed(authority, "it did not answer"), f"authority/{authority}")
    failed = log.records[-1].envelope.at
    log.say(AuthorityRecovered(authority, failed), f"authority/{authority}")


def bindings(log: ALog) -> None:
    """Let keys for external account bindings be made, used and taken back."""
    log.an_account(eab=log.an_eab_key())
    kid = log.an_eab_key(
        expires="2026-12-24T12:00:00Z",
        max_uses=2,
        policy="lab",
        profile="short",
        allow=(".corp.internal/2", "=corp.internal"),
        challenges=("http-01",),
        prevalidated=True,
        comment="the shops",
    )
    log.an_account(eab=kid)
    log.an_account(eab=kid, contact=None)
    log.an_eab_revocation(kid)


def licenses(log: ALog) -> None:
    """Let an installation evaluate, begin cold, have licenses, and go beyond them."""
    by = log.an_administrator()

    def told(fact: Event) -> None:
        log.say(fact, "license", actor=by)

    log.say(EvaluationBegun("2026-12-23T12:00:00Z", "the first start with AD CS"), "license")
    told(ColdStartInitialised("free", "2026-11-30T12:00:00Z", "2026-12-14T12:00:00Z"))
    log.say(LicenseStateChanged("", "cold-start", "cold-start init"), "license")
    told(ColdStartExtended("2026-12-07T12:00:00Z"))
    told(ColdStartSwitched("free", "starter"))
    first = a_license("1", managed_servers=250, expires="2026-12-01T12:00:00Z")
    told(first)
    told(ForceGraceGranted(first.id, "2026-12-15T12:00:00Z", "2026-12-22T12:00:00Z"))
    told(a_license("2", managed_servers=25, replaces=first.id, source="refresh"))
    reasons = ("the database is postgres, allowed: sqlite",)
    told(LicenseAcknowledged("2" * 26, "5e" * 32, reasons))
    log.say(LicenseStateChanged("cold-start", "acknowledged", "time", reasons), "license")
    told(LicenseRevoked("2" * 26, "2026-11-24T12:00:00Z", "it was paid back", "a block"))


def a_license(
    digit: str,
    *,
    managed_servers: int = 25,
    authorities: int = 1,
    databases: tuple[str, ...] = ("sqlite",),
    topologies: tuple[str, ...] = ("single",),
    issued_at: str = "2026-11-01T00:00:00Z",
    not_before: str = "2026-11-01T00:00:00Z",
    expires: str = "2027-11-01T00:00:00Z",
    installation: str = "INST-000000-000000-000000-000000-000000",
    block: str = "what the vendor signed",
    replaces: str = "",
    source: str = "file",
) -> LicenseInstalled:
    """Return the fact of a license whose id is this digit, 26 times."""
    return LicenseInstalled(
        id=digit * 26,
        key="CRT-000000-000000-000000-000000-000000",
        plan="starter",
        holder="the lab",
        installation=installation,
        managed_servers=managed_servers,
        authorities=authorities,
        databases=databases,
        topologies=topologies,
        issued_at=issued_at,
        not_before=not_before,
        expires=expires,
        block=block,
        replaces=replaces,
        source=source,
    )


def a_loss(log: ALog, lost: Callable[[], object], *, by: int = 0) -> list[Record]:
    """Let the log lose what `lost` makes it say; return the lines that a node's journal keeps."""
    position, head, versions = log.position, log.head, dict(log.versions)
    lost()
    log.position, log.head, log.versions = position, head, versions
    del log.records[position:]
    return [record for record in log.nodes[by].records if record.envelope.position > position]


def a_recovery(log: ALog, lost: list[Record], *, by: int = 0) -> None:
    """Let a node tell of its lost lines, and record anew the accounts and certificates in them."""
    a_fork_told(log, len(lost), by=by)
    for record in lost:
        place, fact = record.envelope.position, record.event
        if isinstance(fact, AccountCreated):
            again = AccountRecovered(
                place, fact.account_id, fact.thumbprint, fact.jwk, eab=fact.eab
            )
            log.say(again, f"account/{fact.account_id}", by=by)
        if isinstance(fact, CertificateIssued):
            names = CertificateRecovered.__struct_fields__[2:]
            told = {name: getattr(fact, name) for name in names}
            found = CertificateRecovered(position=place, id=fact.sha256[:26], **told)
            log.say(found, f"certificate/{found.id}", by=by)


def a_fork_told(log: ALog, lines: int, *, by: int = 0) -> Record:
    """Let a node tell that its last lines are no part of the log."""
    node = log.nodes[by]
    last = node.records[-1]
    seq = last.envelope.seq
    return log.say(LogForked(node.server_id, seq - lines + 1, seq, last.hash), "log", by=by)
