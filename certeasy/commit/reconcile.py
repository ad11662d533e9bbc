"""A node that comes back to a log that went on without its last lines.

A replica was promoted that had not received them, another node took their positions. The lines were
signed, answered and acted upon, so they are neither forgotten nor put over what is there now: they
are kept beside the log, a signed `log.forked` says so, and what is true outside because of them is
recorded anew: accounts and certificates under types of their own, as their orders are not in the
log any more; what was closed or revoked by the types that say so.

`lost` and `keep` find the lines and keep them; `anew` decides, from these lines and the rows as
they are now, what is to be committed. All of it can be run again after a crash.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from certeasy.commit.chain import BrokenChain, after
from certeasy.commit.keys import NodeKeys
from certeasy.commit.restore import whole_lines
from certeasy.store import Head, Server, Store
from events.accounts import (
    AccountContactsChanged,
    AccountCreated,
    AccountDeactivated,
    AccountKeyChanged,
    AccountRevoked,
)
from events.certificates import CertificateIssued, CertificateRevoked
from events.eab import EabCreated, EabRevoked, EabUsed
from events.envelope import BrokenLine, Record, parse
from events.nodes import AuthorityCertificateSeen
from events.recovery import AccountRecovered, CertificateRecovered, LogForked
from events.registry import Event
from events.subjects import SubjectErased
from projections.accounts import ACCOUNTS, VALID
from projections.certificates import CERTIFICATES, ISSUERS
from projections.eab import EAB_KEYS
from projections.eab import VALID as GOOD

ID_LENGTH = 26
_ANY = 1 << 62  # uses of a key that may be used any number of times
Facts = list[tuple[str, Event]]


class ReconcileRefused(Exception):
    """There is nothing to reconcile, or not in this way; the message says what to do."""


def lost(files: Sequence[Path], server: Server, head: Head, keys: NodeKeys) -> list[Record]:
    """Return the lines of this node's journal that its database has lost; none is no error.

    Raises ReconcileRefused where their positions are free, or they do not follow what the database
    has, JournalBroken where the journal cannot be read.
    """
    records = []
    for line in whole_lines(files):
        try:
            record = parse(line.data)
        except BrokenLine as error:
            raise ReconcileRefused(f"{line.file}:{line.number}: {error}") from None
        if record.envelope.seq > server.seq:
            records.append(record)
    if not records:
        return []
    if records[0].envelope.position > head.position:
        raise ReconcileRefused(
            f"the positions of the lost lines (from {records[0].envelope.position} on) are free,"
            f" as the log ends at {head.position}: 'certeasy journal restore -f config.yml' puts"
            " the lines back"
        )
    try:
        after((server.seq, server.hash), [r.line for r in records], server.server_id, keys)
    except BrokenChain as error:
        raise ReconcileRefused(
            f"the journal does not go on from where the database has this node (seq {server.seq},"
            f" hash {server.hash}): {error}. 'certeasy audit verify -f config.yml' names all"
            " differences"
        ) from None
    return records


def keep(store: Store, server: Server, head: Head, records: Sequence[Record]) -> None:
    """Keep the lost lines as orphaned, and let the node go on behind the last of them."""
    last = records[-1]
    with store.transaction() as transaction:
        transaction.hold_at(head)
        transaction.keep_orphans(records)
        transaction.put_back(replace(server, seq=last.envelope.seq, hash=last.hash))


def kept(store: Store, server_id: str) -> list[Record]:
    """Return all orphaned lines of a node."""
    return [parse(line) for line in store.orphans(server_id)]


def untold(records: Sequence[Record], server: Server) -> list[Record]:
    """Return the orphaned lines that no `log.forked` tells of yet: the node ends with them."""
    run: list[Record] = []
    seq = server.seq
    for record in reversed(records):
        if record.envelope.seq != seq:
            break
        run.insert(0, record)
        seq -= 1
    return run


def forked(records: Sequence[Record]) -> Facts:
    """Return the fact that these lines, the last ones of their node, are no part of the log."""
    first, last = records[0].envelope, records[-1].envelope
    return [("log", LogForked(last.server_id, first.seq, last.seq, records[-1].hash))]


def anew(records: Iterable[Record], store: Store) -> "Anew":
    """Return what must be recorded anew. What the log knows already is not told again."""
    found = Anew(store)
    for record in records:
        found.take(record)
    return found


class Anew:
    """What was true after the lost lines, in so far as the log does not know it.

    `erased` are subjects whose keys must be destroyed again, as a lost line said; `left` tells how
    many lines of each type were left as they are.
    """

    def __init__(self, store: Store) -> None:
        self.facts: Facts = []
        self.left: Counter[str] = Counter()
        self.erased: list[str] = []
        self._store = store
        self._accounts: dict[str, str] = {}  # with keys that the log does not know them by
        self._ids: dict[str, str] = {}  # of recovered certificates, by the id of their order
        self._ended: set[str] = set()
        self._issuers: set[str] = set()
        self._eab_keys: dict[str, int | None] = {}  # how many accounts each may still bind

    def take(self, record: Record) -> None:  # noqa: C901, PLR0912 - a type of event a line
        """Take a lost line."""
        position = record.envelope.position
        match record.event:
            case AccountCreated() as fact:
                told = self._account(_account(fact, position))
            case AccountRecovered() as fact:
                told = self._account(fact)
            case CertificateIssued() as fact:
                told = self._certificate(_certificate(fact, position))
            case CertificateRecovered() as fact:
                told = self._certificate(fact)
            case AccountContactsChanged() as fact:
                told = self._of_account(fact.account_id, fact)
            case AccountKeyChanged() as fact:
                told = self._key(fact)
            case AccountDeactivated() | AccountRevoked() as fact:
                told = self._of_account(fact.account_id, fact)
                self._ended.add(fact.account_id)
            case CertificateRevoked() as fact:
                told = self._revocation(fact)
            case AuthorityCertificateSeen() as fact:
                told = self._issuer(fact)
            case EabCreated() as fact:
                told = self._eab(fact)
            case EabUsed() as fact:
                told = self._eab_use(fact)
            case EabRevoked() as fact:
                told = self._eab_revocation(fact)
            case SubjectErased() as fact:
                told = self._erasure(fact.subject)
            case _:
                told = False
        if not told:
            self.left[record.envelope.type] += 1

    def _account(self, fact: AccountRecovered) -> bool:
        if self._store.get(ACCOUNTS, fact.account_id) is not None:
            return False
        if self._store.account_with_key(fact.thumbprint) is not None:  # it has registered again
            return False
        self._accounts[fact.account_id] = fact.thumbprint
        self.facts.append((f"account/{fact.account_id}", fact))
        return True

    def _of_account(self, account_id: str, fact: Event) -> bool:
        account = self._store.get(ACCOUNTS, account_id)
        valid = account_id in self._accounts or (account is not None and account.status == VALID)
        if not valid or account_id in self._ended:
            return False
        self.facts.append((f"account/{account_id}", fact))
        return True

    def _key(self, fact: AccountKeyChanged) -> bool:
        account = self._store.get(ACCOUNTS, fact.account_id)
        known = None if account is None else account.thumbprint
        if self._accounts.get(fact.account_id, known) != fact.previous:
            return False  # it has another key by now
        taken = fact.thumbprint in self._accounts.values()
        if taken or self._store.account_with_key(fact.thumbprint) is not None:
            return False
        if not self._of_account(fact.account_id, fact):
            return False
        self._accounts[fact.account_id] = fact.thumbprint
        return True

    def _certificate(self, fact: CertificateRecovered) -> bool:
        self._ids[fact.order_id] = fact.id
        if self._store.certificate_with_sha256(fact.sha256) is not None:
            return False
        self.facts.append((f"certificate/{fact.id}", fact))
        return True

    def _revocation(self, fact: CertificateRevoked) -> bool:
        id_ = self._ids.get(fact.order_id, fact.order_id)
        certificate = self._store.get(CERTIFICATES, id_)
        known = id_ in self._ids.values() if certificate is None else not certificate.revoked
        if not known or (certificate is not None and certificate.serial != fact.serial):
            return False
        self.facts.append((f"certificate/{id_}", replace(fact, order_id=id_)))
        return True

    def _eab(self, fact: EabCreated) -> bool:
        """Know a key again, so that its accounts may do no more than before; the key is lost."""
        if fact.kid in self._eab_keys or self._store.get(EAB_KEYS, fact.kid) is not None:
            return False
        self._eab_keys[fact.kid] = fact.max_uses or _ANY
        self.facts.append((f"eab/{fact.kid}", fact))
        return True

    def _eab_use(self, fact: EabUsed) -> bool:
        """Count an account that is known again; others have taken the place of one that is not."""
        left = self._uses_left(fact.kid)
        if fact.account_id not in self._accounts or not left:
            return False
        self._eab_keys[fact.kid] = left - 1
        self.facts.append((f"eab/{fact.kid}", fact))
        return True

    def _eab_revocation(self, fact: EabRevoked) -> bool:
        if self._uses_left(fact.kid) is None:
            return False
        self._eab_keys[fact.kid] = None
        self.facts.append((f"eab/{fact.kid}", fact))
        return True

    def _uses_left(self, kid: str) -> int | None:
        """Return how many accounts a key may still bind; None: it is not known, or was revoked."""
        if kid not in self._eab_keys:
            key = self._store.get(EAB_KEYS, kid)
            good = key is not None and key.status == GOOD
            self._eab_keys[kid] = (
                max((key.max_uses or _ANY) - key.uses, 0) if key is not None and good else None
            )
        return self._eab_keys[kid]

    def _erasure(self, subject: str) -> bool:
        if subject in self.erased or self._store.subject_key(subject) is None:
            return False
        self.erased.append(subject)
        return True

    def _issuer(self, fact: AuthorityCertificateSeen) -> bool:
        if fact.sha256 in self._issuers or self._store.get(ISSUERS, fact.sha256) is not None:
            return False
        self._issuers.add(fact.sha256)
        self.facts.append((f"authority/{fact.authority}", fact))
        return True


def _account(fact: AccountCreated, position: int) -> AccountRecovered:
    return AccountRecovered(
        position,
        fact.account_id,
        fact.thumbprint,
        fact.jwk,
        fact.terms_agreed,
        fact.contact,
        fact.eab,
    )


def _certificate(fact: CertificateIssued, position: int) -> CertificateRecovered:
    """Return the certificate as it is known from now on.

    Its order may be in the log again, or still, and get another certificate: so the id is made of
    the certificate itself, and not of the order.
    """
    return CertificateRecovered(
        position=position,
        id=fact.sha256[:ID_LENGTH],
        order_id=fact.order_id,
        account_id=fact.account_id,
        authority=fact.authority,
        certificate=fact.certificate,
        chain=fact.chain,
        serial=fact.serial,
        sha256=fact.sha256,
        spki_sha256=fact.spki_sha256,
        names=fact.names,
        not_before=fact.not_before,
        not_after=fact.not_after,
    )
