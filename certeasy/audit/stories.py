"""What an event says, as a sentence: the *what* and the *why* of `audit show`."""

from collections import Counter
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
from events.counting import counted, times
from events.eab import EabCreated, EabRevoked, EabUsed
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
from events.limits import LimitsReset
from events.nodes import (
    AuthorityCertificateSeen,
    ClockSetBack,
    InstallationCreated,
    JournalRefilled,
    JournalSegmentClosed,
    LeaseTaken,
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
    NodeStarted,
    NodeStopped,
    RequestRefused,
    SettingsLoaded,
    TlsCertificateInstalled,
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
    OrderCaaChecked,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderInvalidated,
    OrderReady,
)
from events.recovery import AccountRecovered, CertificateRecovered, LogForked, LogRestored
from events.registry import Event, name_of
from events.retention import RetentionApplied
from events.subjects import SubjectErased

REASONS = {  # RFC 5280 section 5.3.1
    0: "unspecified",
    1: "key compromise",
    2: "CA compromise",
    3: "affiliation changed",
    4: "superseded",
    5: "cessation of operation",
    9: "privilege withdrawn",
    10: "AA compromise",
}


REVOKERS = {
    "account": "signed by the account",
    "authorizations": "signed by an account that controls all of its names",
    "certificate-key": "signed by the certificate's key",
    "administrator": "at an administrator's word",
}


def story(fact: Event) -> str:
    """Return what happened, in one sentence without its subject."""
    tell = _STORIES.get(type(fact))
    return tell(fact) if tell else name_of(fact)[0]


def _registered(fact: NodeRegistered) -> str:
    by = f" by the invitation {fact.invitation.kid}" if fact.invitation else ""
    return f"node {fact.server_id} on {fact.hostname} registered key {fact.kid}{by}"


def _account_created(fact: AccountCreated) -> str:
    contact = "with a contact" if fact.contact else "without a contact"
    bound = f", bound with the external account key {fact.eab}" if fact.eab else ""
    return f"registered an account {contact}, key {fact.thumbprint}{bound}"


def _eab_created(fact: EabCreated) -> str:
    accounts = "account" if fact.max_uses == 1 else "accounts"
    uses = f"for {fact.max_uses or 'any number of'} {accounts}"
    bounds = [f"until {fact.expires}"] if fact.expires else []
    bounds += [f"under policy {fact.policy}"] if fact.policy else []
    bounds += [f"of profile {fact.profile}"] if fact.profile else []
    bounds += [f"for names {', '.join(fact.allow)}"] if fact.allow else []
    bounds += ["which need no proof"] if fact.prevalidated else []
    bounds += [f"proven by {', '.join(fact.challenges)}"] if fact.challenges else []
    return ", ".join([f"made the external account key {fact.kid}, {uses}", *bounds])


def _caa_checked(fact: OrderCaaChecked) -> str:
    """Tell how often each verdict was given, and the first reason of one that was none."""
    many = Counter(check.verdict for check in fact.checks)
    told = ", ".join(f"{verdict} {times(many[verdict])}" for verdict in sorted(many))
    why = next((f"; the first: {check.reason}" for check in fact.checks if check.reason), "")
    return f"CAA records were looked at again: {told}{why}"


def _order_created(fact: OrderCreated) -> str:
    names = ", ".join(identifier.value for identifier in fact.identifiers)
    instead = f", to replace that of order {fact.replaces}" if fact.replaces else ""
    what = f"ordered a certificate for {names}{instead}"
    if fact.preauthorization:
        what = f"asked to prove {names} ahead of any order"
    under = f"policy {fact.policy}" + (f", profile {fact.profile}" if fact.profile else "")
    return f"{what} under {under}, from {fact.authority}"


def _challenge_accepted(fact: ChallengeAccepted) -> str:
    return f"asked to be validated (authorization {fact.authorization}, challenge {fact.challenge})"


def _challenge_validated(fact: ChallengeValidated) -> str:
    return f"control was proven (authorization {fact.authorization}): {_seen(fact.evidence)}"


def _challenge_failed(fact: ChallengeFailed) -> str:
    why = f"{fact.error.detail}; {_seen(fact.evidence)}"
    return f"control was not proven (authorization {fact.authorization}): {why}"


def _issuance_failed(fact: IssuanceFailed) -> str:
    after = "given up" if fact.final else "to be tried again"
    code = f" ({fact.code})" if fact.code else ""
    what = f"attempt {fact.attempt} at {fact.authority}{_as_request(fact.request_id)} failed"
    return f"{what}, {after}: {fact.reason}{code}"


def _as_request(request_id: str) -> str:
    return f", request {request_id}," if request_id else ""


def _in_doubt(fact: IssuanceInDoubt) -> str:
    where = f"{fact.authority}{_as_request(fact.request_id)}"
    return f"attempt {fact.attempt}: the answer of {where} was lost: {fact.reason}"


def _abandoned(fact: IssuanceAbandoned) -> str:
    where = f"{fact.authority}{_as_request(fact.request_id)}"
    return (
        f"attempt {fact.attempt} at {where} was given up, and a certificate of it may exist:"
        f" {fact.reason}"
    )


def _searched(fact: IssuanceSearched) -> str:
    found = "it made none" if fact.settled else "none was found, but it may exist"
    return (
        f"the certificate of attempt {fact.attempt} at {fact.authority} was looked for, {found}:"
        f" {fact.reason}"
    )


def _twin_found(fact: CertificateTwinFound) -> str:
    revoked = "to be revoked there" if fact.publish else "recorded"
    return (
        f"{fact.authority} issued certificate {fact.serial or 'without a readable serial number'}"
        f" for attempt {fact.attempt}, which nobody gets, {revoked}: {fact.reason}"
    )


def _mismatched(fact: CertificateMismatched) -> str:
    revoked = f"; certificate {fact.serial} is to be revoked there" if fact.publish else ""
    return f"what {fact.authority} returned was given to nobody: {fact.reason}{revoked}"


def _revocation_failed(fact: RevocationFailed) -> str:
    code = f" ({fact.code})" if fact.code else ""
    return f"{fact.authority} will not revoke certificate {fact.serial}: {fact.reason}{code}"


def _certificate_issued(fact: CertificateIssued) -> str:
    return (
        f"{fact.authority} issued certificate {fact.serial} for {', '.join(fact.names)},"
        f" valid from {fact.not_before} to {fact.not_after}"
    )


def _revoked(fact: CertificateRevoked) -> str:
    reason = REASONS.get(fact.reason, str(fact.reason))
    by = REVOKERS.get(fact.by, fact.by)
    return f"revoked certificate {fact.serial}: {reason}; {by}"


def _renewal_requested(fact: RenewalRequested) -> str:
    by = [f"from {fact.authority}"] if fact.authority else []
    by += [f"valid since before {fact.before}"] if fact.before else []
    which = " and ".join(by) or "listed by serial"
    what = counted(len(fact.certificates), "certificate")
    return f"asked for {what}, {which}, to be renewed from {fact.start} to {fact.end}"


def _license_installed(fact: LicenseInstalled) -> str:
    many = "any number of" if fact.managed_servers < 0 else fact.managed_servers
    servers = "server" if fact.managed_servers == 1 else "servers"
    instead = f", in the place of {fact.replaces}" if fact.replaces else ""
    return (
        f"license {fact.id} ({fact.plan}, {many} {servers}) of {fact.holder} was taken into use"
        f" until {fact.expires}{instead} ({fact.source})"
    )


def _license_state(fact: LicenseStateChanged) -> str:
    before = f", before: {fact.before}" if fact.before else ""
    why = f": {'; '.join(fact.reasons)}" if fact.reasons else ""
    return f"the license's state is {fact.after}{before} ({fact.cause}){why}"


def _seen(evidence: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in evidence.items()) or "no evidence"


def _limits_reset(fact: LimitsReset) -> str:
    whose = f"account {fact.account_id}" if fact.account_id else "a client address"
    return f"had it forgotten what {whose} had spent of {', '.join(fact.limits)}"


def _refused(fact: RequestRefused) -> str:
    names = f" for {', '.join(fact.names)}" if fact.names else ""
    return f"was refused {times(fact.count)}{names} ({fact.kind}): {fact.detail}"


_STORIES: dict[type[Event], Callable[[Any], str]] = {
    InstallationCreated: lambda f: (
        f"installation {f.installation_id} began, anchored in key {f.kid}"
    ),
    NodeRegistered: _registered,
    NodeInvited: lambda f: f"whoever has the invitation {f.kid} may join until {f.expires}",
    NodeKeyRotated: lambda f: f"node {f.server_id} gave up key {f.previous} for key {f.kid}",
    NodeRetired: lambda f: f"node {f.server_id} was retired, seq {f.last_seq} is its last line",
    NodeEndorsed: lambda f: f"node {f.server_id} was endorsed with key {f.kid}",
    NodeStarted: lambda f: f"{f.software} started on {f.hostname}",
    NodeStopped: lambda _: "the server stopped",
    LeaseTaken: lambda f: f"took the writer's place, epoch {f.epoch}",
    SettingsLoaded: lambda f: f"runs with the configuration {f.sha256}",
    JournalRefilled: lambda f: f"seq {f.first_seq} to {f.last_seq} were put back: {f.reason}",
    JournalSegmentClosed: lambda f: (
        f"the journal's segment with seq {f.first_seq} to {f.last_seq} was closed ({f.reason})"
    ),
    LogRestored: lambda f: (
        f"positions {f.first_position} to {f.last_position} were put back into the database"
    ),
    LogForked: lambda f: (
        f"seq {f.first_seq} to {f.last_seq} of this node were lost, and others have their positions"
    ),
    ClockSetBack: lambda f: f"the clock says {f.clock}, the log {f.latest}: accepted",
    AuthorityFailed: lambda f: f"authority {f.authority} cannot be used any more: {f.reason}",
    AuthorityRecovered: lambda f: f"authority {f.authority}, away since {f.failed}, answers again",
    AuthorityCertificateSeen: lambda f: f"{f.authority} has the certificate {f.sha256}",
    TlsCertificateInstalled: lambda f: (
        f"{f.authority} gave the server its own certificate for {', '.join(f.hosts)},"
        f" valid to {f.not_after}"
    ),
    RequestRefused: _refused,
    LimitsReset: _limits_reset,
    AccountCreated: _account_created,
    AccountContactsChanged: lambda f: "set contacts" if f.contact else "dropped all contacts",
    AccountKeyChanged: lambda f: f"gave up key {f.previous} for key {f.thumbprint}",
    AccountDeactivated: lambda _: "closed the account",
    AccountRevoked: lambda f: f"closed account {f.account_id}: it orders nothing more",
    AccountRecovered: lambda f: f"an account of a lost line (position {f.position}) is known again",
    EabCreated: _eab_created,
    EabUsed: lambda f: f"account {f.account_id} was bound with the external account key {f.kid}",
    EabRevoked: lambda f: f"took the external account key {f.kid} back: its accounts end with it",
    OrderCreated: _order_created,
    ChallengeAccepted: _challenge_accepted,
    ChallengeValidated: _challenge_validated,
    ChallengeFailed: _challenge_failed,
    AuthorizationPrevalidated: lambda f: (
        f"control was known already (authorization {f.authorization}): {f.rule}"
    ),
    OrderReady: lambda _: "everything is proven, the order is ready",
    OrderCaaChecked: _caa_checked,
    OrderFinalized: lambda f: f"sent the signing request {f.csr_sha256}",
    IssuanceSubmitted: lambda f: f"attempt {f.attempt}: goes to {f.authority} now",
    IssuancePending: lambda f: (
        f"attempt {f.attempt}: {f.authority} waits for approval of request {f.request_id}"
    ),
    IssuanceInDoubt: _in_doubt,
    IssuanceFailed: _issuance_failed,
    IssuanceAbandoned: _abandoned,
    IssuanceSearched: _searched,
    AuthorizationDeactivated: lambda f: f"gave up authorization {f.authorization}",
    OrderExpired: lambda f: f"the order has ended (time): {f.error.detail}",
    OrderInvalidated: lambda f: f"the order has ended ({f.source}): {f.error.detail}",
    CertificateIssued: _certificate_issued,
    CertificateRecovered: lambda f: (
        f"certificate {f.serial} for {', '.join(f.names)}, which {f.authority} issued in a lost"
        f" line (position {f.position}), is known again"
    ),
    CertificateMismatched: _mismatched,
    CertificateTwinFound: _twin_found,
    CertificateRevoked: _revoked,
    CertificateReplaced: lambda f: (
        f"certificate {f.serial} was replaced by certificate {f.by_serial} of order {f.by}"
    ),
    RevocationPublished: lambda f: f"{f.authority} has revoked certificate {f.serial}",
    RevocationFailed: _revocation_failed,
    RenewalRequested: _renewal_requested,
    RetentionApplied: lambda f: (
        f"{counted(len(f.orders), 'order')}, over before {f.cutoff}, left the tables; the log keeps"
        " them"
    ),
    LicenseInstalled: _license_installed,
    LicenseRevoked: lambda f: f"the vendor took license {f.id} back at {f.revoked_at}: {f.reason}",
    EvaluationBegun: lambda f: f"an evaluation without a license began, until {f.until}: {f.cause}",
    LicenseAcknowledged: lambda f: (
        f"acknowledged that license {f.id} is gone beyond: {'; '.join(f.reasons)}"
    ),
    ForceGraceGranted: lambda f: (
        f"had license {f.id}, which has expired, count until {f.until} (at most {f.cap})"
    ),
    LicenseStateChanged: _license_state,
    ColdStartInitialised: lambda f: (
        f"began without a license, as under the plan {f.plan}, until {f.until}"
    ),
    ColdStartExtended: lambda f: f"had the cold start last until {f.until}",
    ColdStartSwitched: lambda f: f"cold start: plan {f.plan}, before: {f.before}",
    SubjectErased: lambda f: (
        f"the key of {f.subject} was destroyed: what was sealed before can be read by nobody"
    ),
}
