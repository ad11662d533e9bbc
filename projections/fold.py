"""One line of the log applied to the rows.

A pure function of the line and of the rows before it: it knows no clock, no randomness, no
configuration, so that today's tables, a rebuild next year and an auditor's replay are the same.
"""

from collections.abc import Callable
from typing import Any

from events.accounts import (
    AccountContactsChanged,
    AccountCreated,
    AccountDeactivated,
    AccountKeyChanged,
    AccountRevoked,
)
from events.authorities import AuthorityFailed, AuthorityRecovered
from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateReplaced,
    CertificateRevoked,
    CertificateTwinFound,
    RenewalRequested,
    RevocationFailed,
    RevocationPublished,
)
from events.eab import EabCreated, EabRevoked, EabUsed
from events.envelope import Envelope, Record
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
from events.nodes import (
    AuthorityCertificateSeen,
    InstallationCreated,
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
)
from events.orders import (
    AuthorizationDeactivated,
    AuthorizationPrevalidated,
    ChallengeAccepted,
    ChallengeFailed,
    ChallengeValidated,
    IssuanceAbandoned,
    IssuanceFailed,
    IssuanceInDoubt,
    IssuancePending,
    IssuanceSearched,
    IssuanceSubmitted,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderInvalidated,
    OrderReady,
)
from events.recovery import AccountRecovered, CertificateRecovered
from events.registry import Event
from events.retention import RetentionApplied
from projections import (
    accounts,
    authorities,
    certificates,
    eab,
    failures,
    marks,
    name_sets,
    nodes,
    orders,
    renewals,
    retention,
    revocations,
    seats,
    suspects,
    unproven,
)
from projections import license as licenses
from projections.jobs import JOBS
from projections.tables import Contradiction, Key, Rows, Table

VERSION = 6  # raised with every change that makes stored rows differ from a fresh fold

TABLES: tuple[Table[Any], ...] = (
    nodes.INSTALLATION,
    nodes.NODES,
    nodes.NODE_KEYS,
    nodes.ENDORSEMENTS,
    nodes.INVITATIONS,
    accounts.ACCOUNTS,
    eab.EAB_KEYS,
    orders.ORDERS,
    orders.ORDER_NAMES,
    orders.PREAUTHORIZATIONS,
    certificates.CERTIFICATES,
    certificates.ISSUERS,
    renewals.RENEWALS,
    authorities.TROUBLES,
    revocations.REVOCATIONS,
    suspects.SUSPECTS,
    marks.MARKS,
    name_sets.NAME_SETS,
    seats.SEATS,
    seats.HELD,
    failures.FAILURES,
    unproven.PENDING_AUTHORIZATIONS,
    licenses.LICENSE,
    JOBS,
)

FOLDS: dict[type[Event], Callable[[Any, Envelope, Rows], None]] = {
    InstallationCreated: nodes.installed,
    NodeRegistered: nodes.registered,
    NodeEndorsed: nodes.endorsed,
    NodeInvited: nodes.invited,
    NodeKeyRotated: nodes.key_rotated,
    NodeRetired: nodes.retired,
    AccountCreated: accounts.created,
    AccountContactsChanged: accounts.contacts_changed,
    AccountKeyChanged: accounts.key_changed,
    AccountDeactivated: accounts.deactivated,
    AccountRevoked: accounts.revoked,
    AccountRecovered: accounts.recovered,
    EabCreated: eab.created,
    EabUsed: eab.used,
    EabRevoked: eab.revoked,
    OrderCreated: orders.created,
    ChallengeAccepted: orders.challenge_accepted,
    ChallengeValidated: orders.challenge_validated,
    ChallengeFailed: orders.challenge_failed,
    AuthorizationPrevalidated: orders.prevalidated,
    OrderReady: orders.ready,
    OrderFinalized: orders.finalized,
    IssuanceSubmitted: orders.submitted,
    IssuancePending: orders.pending,
    IssuanceInDoubt: orders.in_doubt,
    IssuanceFailed: orders.issuance_failed,
    IssuanceAbandoned: orders.abandoned,
    IssuanceSearched: orders.searched,
    AuthorizationDeactivated: orders.authorization_deactivated,
    OrderInvalidated: orders.invalidated,
    OrderExpired: orders.expired,
    CertificateIssued: certificates.issued,
    CertificateMismatched: certificates.mismatched,
    CertificateTwinFound: certificates.twin_found,
    CertificateRecovered: certificates.recovered,
    CertificateRevoked: certificates.revoked,
    CertificateReplaced: certificates.replaced,
    RevocationPublished: revocations.published,
    RevocationFailed: revocations.failed,
    RenewalRequested: renewals.requested,
    AuthorityCertificateSeen: certificates.issuer_seen,
    RetentionApplied: retention.applied,
    AuthorityFailed: authorities.failed,
    AuthorityRecovered: authorities.recovered,
    LicenseInstalled: licenses.installed,
    LicenseRevoked: licenses.revoked,
    EvaluationBegun: licenses.evaluation_begun,
    LicenseAcknowledged: licenses.acknowledged,
    ForceGraceGranted: licenses.force_grace_granted,
    LicenseStateChanged: licenses.state_changed,
    ColdStartInitialised: licenses.cold_start_initialised,
    ColdStartExtended: licenses.cold_start_extended,
    ColdStartSwitched: licenses.cold_start_switched,
}


def apply(fact: Event, line: Envelope, rows: Rows) -> None:
    """Change the rows as this event does; events that no projection keeps change nothing."""
    handler = FOLDS.get(type(fact))
    if handler is not None:
        handler(fact, line, rows)


def fold(record: Record, rows: Rows) -> None:
    """Decode a stored line and apply it.

    Raises as `Record.event` does for what is from the future, and Contradiction for a line that
    cannot follow from those before it: a certificate for an order that nothing was proven for, a
    request that was signed with another key than the account's.
    """
    fact, actor = record.event, record.actor
    if actor.kind == "account" and actor.key and not isinstance(fact, AccountCreated):
        account = rows.get(accounts.ACCOUNTS, actor.id)
        if account is None or account.thumbprint != actor.key:
            position = record.envelope.position
            raise Contradiction(position, f"account {actor.id} did not have the key {actor.key}")
    apply(fact, record.envelope, rows)


def streams_of(table: Table[Any], key: Key) -> tuple[str, ...]:
    """Return the streams whose lines make a row, for the rows that decisions are based on."""
    if table is accounts.ACCOUNTS:
        return (f"account/{key[0]}",)
    if table is eab.EAB_KEYS:
        return (f"eab/{key[0]}",)
    if table is licenses.LICENSE:
        return ("license",)
    if table in (orders.ORDERS, certificates.CERTIFICATES, revocations.REVOCATIONS):
        return (f"order/{key[0]}", f"certificate/{key[0]}")
    if table is suspects.SUSPECTS:
        order_id = key[0].rpartition("-")[0]
        return (f"order/{order_id}", f"certificate/{order_id}")
    return ()
