"""Signed journals of one or more nodes, made by a sentence.

    log = a_log(nodes=2)
    log.an_order("web.corp.internal", by=1)
    paths = log.write(tmp_path)

Everything is fixed: the same sentences give the same bytes. Node `n` has the seed `n` and an id
made of it.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from events.accounts import (
    AccountContactsChanged,
    AccountCreated,
    AccountDeactivated,
    AccountKeyChanged,
)
from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateReplaced,
    CertificateRevoked,
    CertificateTwinFound,
    RevocationPublished,
)
from events.eab import EabCreated, EabRevoked, EabUsed
from events.envelope import (
    VERSION,
    ZERO_HASH,
    Actor,
    Envelope,
    Record,
    encode,
    seal_line,
    timestamp,
)
from events.nodes import (
    AuthorityCertificateSeen,
    InstallationCreated,
    Invitation,
    JournalSegmentClosed,
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
    NodeStarted,
)
from events.orders import (
    AuthorizationDeactivated,
    AuthorizationPrevalidated,
    ChallengeAccepted,
    ChallengeFailed,
    ChallengeValidated,
    Identifier,
    IssuanceFailed,
    IssuanceSubmitted,
    OfferedAuthorization,
    OfferedChallenge,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderInvalidated,
    OrderReady,
    Problem,
)
from events.registry import Event, name_of
from events.sealing import Sealed, Subject
from events.signing import SigningKey, base64url
from events.statements import joining, state, succeeding
from journal.segments import ACTIVE, closed_path

INSTALLATION = "1a57a11a-0000-4000-8000-000000000001"
BEGIN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SYSTEM = Actor("system", "test")
ISSUER = b"0\x82 a CA certificate, as far as a journal cares"


class ANode:
    """A node: its id, its key, and its lines so far."""

    def __init__(self, number: int) -> None:
        self.server_id = f"{number:08x}-0000-4000-8000-{number:012x}"
        self.hostname = f"node{number}.corp.internal"
        self.key = SigningKey.from_seed(bytes([number]) * 32)
        self.given_up: list[SigningKey] = []
        self.records: list[Record] = []

    @property
    def journal(self) -> bytes:
        return b"".join([record.line + b"\n" for record in self.records])


def _identifier(name: str) -> Identifier:
    is_address = ":" in name or name.replace(".", "").isdigit()
    return Identifier("ip" if is_address else "dns", name)


class ALog:
    """An installation's log, written by its nodes in turn."""

    def __init__(self, *, keep: bool = True) -> None:
        self.nodes: list[ANode] = []
        self.records: list[Record] = []
        self.head = ZERO_HASH
        self.position = 0
        self.now = BEGIN
        self.versions: dict[str, int] = {}
        self.subjects: dict[str, bytes] = {}
        self.serials: dict[str, str] = {}
        self._ids = 0
        self._keep = keep  # False: only the last line of each node is kept

    # -- lines -----------------------------------------------------------------------------------

    def say(self, fact: Event, stream: str, *, by: int = 0, actor: Actor = SYSTEM) -> Record:
        """Let a node record one event."""
        node = self.nodes[by]
        kind, schema = name_of(fact)
        self.position += 1
        self.now += timedelta(milliseconds=250)
        self.versions[stream] = self.versions.get(stream, 0) + 1
        last = node.records[-1] if node.records else None
        envelope = Envelope(
            v=VERSION,
            position=self.position,
            server_id=node.server_id,
            seq=last.envelope.seq + 1 if last else 1,
            prev=last.hash if last else ZERO_HASH,
            head=self.head,
            at=timestamp(self.now),
            stream=stream,
            version=self.versions[stream],
            type=kind,
            schema=schema,
            actor=encode(actor),
            data=encode(fact),
        )
        record = seal_line(envelope, node.key)
        self.head = record.hash
        if not self._keep:
            node.records, self.records = [], []
        node.records.append(record)
        self.records.append(record)
        return record

    # -- nodes -----------------------------------------------------------------------------------

    def a_node(self, *, endorsed: bool = True, invitation: SigningKey | None = None) -> ANode:
        """Let another node join, by an invitation or endorsed; the first one begins the log."""
        node = ANode(len(self.nodes) + 1)
        self.nodes.append(node)
        by, kid = len(self.nodes) - 1, node.key.public.kid
        if by == 0:
            created = InstallationCreated(INSTALLATION, kid, "active-active")
            self.say(created, "installation")
        self.a_registration(by, invitation)
        if endorsed and by > 0 and invitation is None:
            self.an_endorsement(by)
        return node

    def a_registration(self, by: int, invitation: SigningKey | None = None) -> Record:
        """Let a node make itself known, perhaps by an invitation."""
        node, word = self.nodes[by], None
        kid, x = node.key.public.kid, node.key.public.x
        if invitation is not None:
            payload = joining(INSTALLATION, node.server_id, kid)
            word = Invitation(invitation.public.kid, state(invitation, payload))
        fact = NodeRegistered(INSTALLATION, node.server_id, node.hostname, kid, x, word)
        return self.say(fact, f"node/{node.server_id}", by=by)

    def an_endorsement(self, of: int, *, by: int = 0) -> Record:
        """Let a node vouch for another's present key."""
        node = self.nodes[of]
        fact = NodeEndorsed(node.server_id, node.key.public.kid)
        return self.say(fact, f"node/{node.server_id}", by=by)

    def an_invitation(self, *, by: int = 0, valid: timedelta = timedelta(hours=24)) -> SigningKey:
        """Let a node invite another; return the key that the token stands for."""
        key = SigningKey.from_seed(hashlib.sha256(f"token {self.position}".encode()).digest())
        fact = NodeInvited(key.public.kid, key.public.x, timestamp(self.now + valid))
        self.say(fact, f"invitation/{key.public.kid}", by=by)
        return key

    def a_key_rotation(self, *, by: int = 0) -> Record:
        """Let a node give its key up for another."""
        node = self.nodes[by]
        old, seed = node.key, f"{node.server_id} key {len(node.given_up) + 2}"
        new = SigningKey.from_seed(hashlib.sha256(seed.encode()).digest())
        fact = rotation_of(node, new)
        record = self.say(fact, f"node/{node.server_id}", by=by)
        node.given_up.append(old)
        node.key = new
        return record

    def a_retirement(self, of: int, *, by: int = 0) -> Record:
        """Let a node tell that another is gone for good."""
        last = self.nodes[of].records[-1]
        fact = NodeRetired(self.nodes[of].server_id, last.envelope.seq, last.hash)
        return self.say(fact, f"node/{fact.server_id}", by=by)

    def a_start(self, *, by: int = 0) -> Record:
        """Let a node start."""
        node = self.nodes[by]
        started = NodeStarted(f"boot-{self.position}", node.hostname, "certeasy 0.1.0", 1)
        return self.say(started, f"node/{node.server_id}", by=by)

    # -- accounts, orders ------------------------------------------------------------------------

    def new_id(self) -> str:
        """Return an id of the server's form."""
        self._ids += 1
        return f"{self._ids:026d}"

    def sealed(self, subject: str, clear: object) -> Sealed:
        """Seal something about a subject, whose key is kept in `subjects`."""
        key = self.subjects.setdefault(subject, hashlib.sha256(subject.encode()).digest())
        nonce = hashlib.sha256(f"{subject} {self.position}".encode()).digest()[:12]
        return Subject(subject, key).seal(msgspec.json.encode(clear), nonce)

    def actor(self, account_id: str) -> Actor:
        """Return an account at work, its address sealed."""
        clear = {"address": "192.0.2.7", "user_agent": "acme-client/1.0"}
        sealed = self.sealed(f"account/{account_id}", clear)
        return Actor("account", account_id, sealed, key_of(account_id))

    def an_eab_key(self, **bounds: Any) -> str:
        """Let an administrator make a key for external account bindings; return its id."""
        kid = self.new_id()
        self.say(EabCreated(kid, **bounds), f"eab/{kid}", actor=self.an_administrator())
        return kid

    def an_eab_revocation(self, kid: str) -> None:
        """Let an administrator take such a key back."""
        self.say(EabRevoked(kid), f"eab/{kid}", actor=self.an_administrator())

    def an_administrator(self) -> Actor:
        """Return somebody at the keyboard."""
        return Actor("administrator", sealed=self.sealed("administrator/1", "admin"))

    def an_account(
        self,
        *,
        contact: str | None = "mailto:ops@corp.internal",
        by: int = 0,
        eab: str = "",
    ) -> str:
        """Let somebody register, with a key for external account bindings or without; return the
        account's id."""
        account = self.new_id()
        x = key_of(account)
        seal = self.sealed(f"account/{account}", [contact]) if contact else None
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
        created = AccountCreated(account, x, jwk, terms_agreed=True, contact=seal, eab=eab)
        self.say(created, f"account/{account}", by=by, actor=self.actor(account))
        if eab:
            used = EabUsed(eab, account)
            self.say(used, f"eab/{eab}", by=by, actor=self.actor(account))
        return account

    def a_new_order(
        self,
        *names: str,
        account: str,
        by: int = 0,
        profile: str = "",
        replaces: str = "",
        preauthorization: bool = False,
    ) -> str:
        """Let an account order a certificate; return the order's id."""
        order = self.new_id()
        identifiers = tuple(_identifier(name) for name in names)
        offered = tuple(
            OfferedAuthorization(
                identifier, (OfferedChallenge("http-01", base64url(identifier.value.encode())),)
            )
            for identifier in identifiers
        )
        expires = timestamp(self.now + timedelta(days=7))
        created = OrderCreated(
            order,
            account,
            identifiers,
            offered,
            expires,
            "default",
            "lab",
            profile,
            replaces,
            preauthorization,
        )
        self.say(created, f"order/{order}", by=by, actor=self.actor(account))
        return order

    def an_issuer(self, *, by: int = 0) -> str:
        """Let the authority's certificate be seen; return its SHA-256."""
        sha256 = hashlib.sha256(ISSUER).hexdigest()
        self.say(AuthorityCertificateSeen("lab", sha256, ISSUER), "authority/lab", by=by)
        return sha256

    def an_order(
        self, *names: str, account: str | None = None, by: int = 0, replaces: str = ""
    ) -> str:
        """Tell the whole story of a certificate, from the order to the issuance; return its id."""
        account = account or self.an_account(by=by)
        order = self.a_new_order(*names, account=account, by=by, replaces=replaces)
        stream, actor = f"order/{order}", self.actor(account)
        for n, name in enumerate(names):
            self.say(ChallengeAccepted(n, 0), stream, by=by, actor=actor)
            evidence = {"address": "10.0.0.7", "url": f"http://{name}/.well-known/acme-challenge/x"}
            self.say(ChallengeValidated(n, 0, dict(evidence)), stream, by=by)
        self.say(OrderReady(), stream, by=by)
        csr = f"a signing request for {names}".encode()
        csr_sha256 = hashlib.sha256(csr).hexdigest()
        self.say(OrderFinalized(csr, csr_sha256), stream, by=by, actor=actor)
        self.say(IssuanceSubmitted(1, "lab", csr_sha256), stream, by=by)
        leaf = f"a certificate for {names}, order {order}".encode()
        sha256 = hashlib.sha256(leaf).hexdigest()
        issued = CertificateIssued(
            order_id=order,
            account_id=account,
            authority="lab",
            attempt=1,
            certificate=leaf,
            chain=(hashlib.sha256(ISSUER).hexdigest(),),
            serial=sha256[:32],
            sha256=sha256,
            spki_sha256=hashlib.sha256(csr).hexdigest(),
            names=names,
            not_before=timestamp(self.now - timedelta(hours=1)),
            not_after=timestamp(self.now + timedelta(days=90)),
            request_id="7",
        )
        self.say(issued, f"certificate/{order}", by=by)
        self.serials[order] = issued.serial
        if replaces:
            replaced = CertificateReplaced(replaces, self.serials[replaces], order, issued.serial)
            self.say(replaced, f"certificate/{replaces}", by=by)
        return order

    def a_revocation(self, order: str, *, reason: int = 4, by: int = 0) -> Record:
        """Let the holder revoke an order's certificate."""
        revoked = CertificateRevoked(order, self.serials[order], reason, "account")
        return self.say(revoked, f"certificate/{order}", by=by)

    def a_publication(self, order: str, *, by: int = 0) -> str:
        """Let an authority have revoked an order's certificate; return the revocation's id."""
        issued = next(
            fact
            for record in self.records
            if isinstance(fact := record.event, CertificateIssued) and fact.order_id == order
        )
        done = RevocationPublished(order, issued.authority, issued.serial, sha256_of(issued))
        self.say(done, f"certificate/{order}", by=by)
        return f"{order}-{done.sha256[:12]}"

    def a_failed_order(self, name: str, *, account: str, by: int = 0) -> str:
        """Tell the story of an order whose challenge failed."""
        order = self.a_new_order(name, account=account, by=by)
        problem = Problem(
            "urn:ietf:params:acme:error:connection", f"{name}: connection refused", 400
        )
        self.say(ChallengeAccepted(0, 0), f"order/{order}", by=by, actor=self.actor(account))
        failed = ChallengeFailed(0, 0, problem, {"address": "10.0.0.8"})
        self.say(failed, f"order/{order}", by=by)
        self.say(OrderInvalidated("challenge", problem), f"order/{order}", by=by)
        return order

    def a_denied_order(self, name: str, *, account: str, by: int = 0) -> str:
        """Tell the story of an order that got a wrong certificate first, and then none."""
        order = self.a_new_order(name, account=account, by=by)
        stream = f"order/{order}"
        problem = Problem("urn:ietf:params:acme:error:serverInternal", "the authority refused", 500)
        self.say(ChallengeAccepted(0, 0), stream, by=by, actor=self.actor(account))
        self.say(ChallengeValidated(0, 0, {"address": "10.0.0.7"}), stream, by=by)
        self.say(OrderReady(), stream, by=by)
        self.say(OrderFinalized(b"csr", "0" * 64), stream, by=by, actor=self.actor(account))
        self.say(IssuanceSubmitted(1, "lab", "0" * 64), stream, by=by)
        self.say(CertificateMismatched(order, "lab", 1, "other names", b"leaf"), stream, by=by)
        self.say(IssuanceSubmitted(2, "lab", "0" * 64), stream, by=by)
        self.say(IssuanceFailed(2, "lab", "denied by policy", final=True), stream, by=by)
        self.say(OrderInvalidated("authority", problem), stream, by=by)
        return order

    def a_submitted_order(self, name: str, *, account: str, by: int = 0) -> str:
        """Tell the story of an order that had nothing to prove, up to its first submission."""
        order = self.a_known_order(name, account=account, by=by)
        self.say(
            OrderFinalized(b"csr", "0" * 64), f"order/{order}", by=by, actor=self.actor(account)
        )
        self.say(IssuanceSubmitted(1, "lab", "0" * 64, "7"), f"order/{order}", by=by)
        return order

    def an_issuance(
        self, order: str, name: str, *, account: str, attempt: int, by: int = 0
    ) -> CertificateIssued:
        """Let an attempt bring the certificate of an order with one name."""
        leaf = f"a certificate for {name}, order {order}, attempt {attempt}".encode()
        sha256 = hashlib.sha256(leaf).hexdigest()
        issued = CertificateIssued(
            order_id=order,
            account_id=account,
            authority="lab",
            attempt=attempt,
            certificate=leaf,
            chain=(hashlib.sha256(ISSUER).hexdigest(),),
            serial=sha256[:32],
            sha256=sha256,
            spki_sha256="5c" * 32,
            names=(name,),
            not_before=timestamp(self.now - timedelta(hours=1)),
            not_after=timestamp(self.now + timedelta(days=90)),
            request_id=str(self.position),
        )
        self.say(issued, f"certificate/{order}", by=by)
        self.serials[order] = issued.serial
        return issued

    def a_twin(
        self, order: str, attempt: int, leaf: bytes, *, publish: bool = True, by: int = 0
    ) -> Record:
        """Let a certificate of an attempt come to light that nobody gets."""
        twin = CertificateTwinFound(
            order, "lab", attempt, "it was found", leaf, "77", str(self.position), publish
        )
        return self.say(twin, f"certificate/{order}", by=by)

    def a_known_order(self, *names: str, account: str, by: int = 0) -> str:
        """Tell the story of an order that has nothing to prove, up to where it is ready."""
        order = self.a_new_order(*names, account=account, by=by)
        for n in range(len(names)):
            self.say(AuthorizationPrevalidated(n, "eab build-farm"), f"order/{order}", by=by)
        self.say(OrderReady(), f"order/{order}", by=by)
        return order

    def a_proof_ahead(self, name: str, *, account: str, by: int = 0) -> str:
        """Tell the story of a name that is proven ahead of any order; return its id."""
        order = self.a_new_order(name, account=account, by=by, preauthorization=True)
        stream = f"order/{order}"
        self.say(ChallengeAccepted(0, 0), stream, by=by, actor=self.actor(account))
        self.say(ChallengeValidated(0, 0, {"address": "10.0.0.7"}), stream, by=by)
        self.say(OrderReady(), stream, by=by)
        return order

    def a_given_up_order(self, name: str, *, account: str, by: int = 0) -> str:
        """Tell the story of an order that ended when its client gave an authorization up."""
        order = self.a_new_order(name, account=account, by=by)
        stream, actor = f"order/{order}", self.actor(account)
        error = Problem("urn:ietf:params:acme:error:unauthorized", "given up", 403)
        self.say(ChallengeAccepted(0, 0), stream, by=by, actor=actor)
        self.say(AuthorizationDeactivated(0), stream, by=by, actor=actor)
        self.say(OrderInvalidated("client", error), stream, by=by, actor=actor)
        return order

    def an_expired_order(self, *names: str, account: str, by: int = 0) -> str:
        """Tell the story of an order that ran out, with its first name proven."""
        order = self.a_new_order(*names, account=account, by=by)
        stream, actor = f"order/{order}", self.actor(account)
        error = Problem("urn:ietf:params:acme:error:unauthorized", "the order expired", 403)
        for n in range(len(names)):
            self.say(ChallengeAccepted(n, 0), stream, by=by, actor=actor)
        self.say(ChallengeValidated(0, 0, {"address": "10.0.0.7"}), stream, by=by)
        self.say(OrderExpired(error), stream, by=by)
        return order

    def a_key_change(self, account: str, *, by: int = 0) -> Record:
        """Let an account change its key. It can say nothing more after that: `actor` knows one."""
        x = key_of(f"{account} anew")
        fact = AccountKeyChanged(
            account, key_of(account), x, {"kty": "OKP", "crv": "Ed25519", "x": x}
        )
        return self.say(fact, f"account/{account}", by=by, actor=self.actor(account))

    def a_half_validated_order(self, name: str, *, account: str, by: int = 0) -> str:
        """Tell the story of an order that ended while another challenge was being tried."""
        order = self.a_new_order(name, f"other.{name}", account=account, by=by)
        problem = Problem("urn:ietf:params:acme:error:dns", f"{name}: no such name", 400)
        for n in (0, 1):
            self.say(ChallengeAccepted(n, 0), f"order/{order}", by=by, actor=self.actor(account))
        self.say(ChallengeFailed(0, 0, problem, {}), f"order/{order}", by=by)
        self.say(OrderInvalidated("challenge", problem), f"order/{order}", by=by)
        return order

    def an_account_s_end(self, account: str, *, by: int = 0) -> None:
        """Let an account drop its contacts and close."""
        stream, actor = f"account/{account}", self.actor(account)
        self.say(AccountContactsChanged(account), stream, by=by, actor=actor)
        self.say(AccountDeactivated(account), stream, by=by, actor=actor)

    # -- files -----------------------------------------------------------------------------------

    def key_set(self) -> bytes:
        """Return the nodes' public keys as a JWK set."""
        keys = [key.public.jwk() for node in self.nodes for key in (*node.given_up, node.key)]
        return msgspec.json.encode({"keys": keys})

    def write(self, folder: Path) -> list[Path]:
        """Write each node's journal into its own folder, and `keys.json`; return the journals."""
        (folder / "keys.json").write_bytes(self.key_set())
        paths = []
        for number, node in enumerate(self.nodes, start=1):
            path = folder / f"node{number}" / "audit.log"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(node.journal)
            paths.append(path)
        return paths


def sha256_of(fact: CertificateIssued) -> str:
    """Return the hash of a certificate's bytes, whatever its event says."""
    return hashlib.sha256(fact.certificate).hexdigest()


def key_of(account_id: str) -> str:
    """Return the thumbprint of an account's key."""
    return base64url(hashlib.sha256(account_id.encode()).digest())


def rotation_of(node: ANode, new: SigningKey) -> NodeKeyRotated:
    """Return the fact that a node goes from its present key to this one."""
    kid, previous = new.public.kid, node.key.public.kid
    word = state(new, succeeding(node.server_id, kid, previous))
    return NodeKeyRotated(node.server_id, kid, new.public.x, previous, word)


def a_log(*, nodes: int = 1) -> ALog:
    """Return a log that so many nodes have joined, each endorsed."""
    log = ALog()
    for _ in range(nodes):
        log.a_node()
    return log


def a_rotation(log: ALog, reason: str = "asked", *, by: int = 0) -> Record:
    """Let a node close what it has written since it closed a segment last."""
    node = log.nodes[by]
    closed = [r.envelope.seq for r in node.records if isinstance(r.event, JournalSegmentClosed)]
    last = node.records[-1]
    fact = JournalSegmentClosed(
        first_seq=closed[-1] + 1 if closed else 1,
        last_seq=last.envelope.seq + 1,
        last_hash=last.hash,
        reason=reason,
    )
    return log.say(fact, f"node/{node.server_id}", by=by)


def write_segments(node: ANode, folder: Path) -> list[Path]:
    """Write a node's journal into a folder as a server does that closes segments; return them."""
    active = folder / ACTIVE
    files, part = [], list[Record]()
    for record in node.records:
        part.append(record)
        if isinstance(record.event, JournalSegmentClosed):
            first, last = part[0].envelope.seq, record.envelope.seq
            files.append(_written(closed_path(active, first, last), part))
            part = []
    return [*files, _written(active, part)]


def _written(path: Path, records: list[Record]) -> Path:
    path.write_bytes(b"".join(record.line + b"\n" for record in records))
    return path
