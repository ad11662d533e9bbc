import msgspec
import pytest

from certeasy.audit import show
from certeasy.audit.listing import show as listed
from certeasy.audit.stories import story
from certeasy.audit.verifying import Given
from events.certificates import RenewalRequested
from events.eab import EabCreated
from events.envelope import seal_line
from events.limits import LimitsReset
from events.nodes import RequestRefused
from events.orders import (
    Identifier,
    IssuanceFailed,
    OfferedAuthorization,
    OfferedChallenge,
    OrderCreated,
)
from events.registry import TYPES
from journal.breaks import JournalBroken
from tests.make.databases import a_database
from tests.make.golden import GOLDEN
from tests.make.journals import ALog, a_log
from tests.make.stories import (
    a_campaign,
    a_loss,
    a_lost_answer,
    a_recovery,
    a_renewal,
    licenses,
    published,
)


class Told:
    """A log with two accounts' orders, as journals and as a database."""

    def __init__(self, folder) -> None:
        self.log = log = a_log(nodes=2)
        self.account = log.an_account()
        self.order = log.an_order("web.corp.internal", "www.corp.internal", account=self.account)
        self.other = log.an_order("other.corp.internal", by=1)
        self.failed = log.a_failed_order("down.corp.internal", account=self.account, by=1)
        self.address = log.an_order("10.1.2.3", "2001:db8::7", by=1)
        log.a_revocation(self.order)
        self.kid = log.an_eab_key(max_uses=5)
        self.bound = [log.an_account(eab=self.kid), log.an_account(eab=self.kid, by=1)]
        log.an_account(eab=log.an_eab_key())
        log.an_eab_revocation(self.kid)
        self.serial = next(
            record.event.serial
            for record in log.records
            if record.envelope.stream == f"certificate/{self.order}"
        )
        files = log.write(folder)
        self.journals = Given([[path] for path in files])
        self.with_database = Given()
        (folder / "work").mkdir()
        (folder / "work" / "audit.log").write_bytes(log.nodes[0].journal)
        database = a_database(log, folder / "db.sqlite")
        self.with_database.add_node(folder / "work", folder / "work" / "audit.log", database)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return Told(tmp_path_factory.mktemp("told"))


@pytest.fixture(params=["journals", "with_database"])
def given(told, request):
    return getattr(told, request.param)


def positions(log: ALog, *streams: str) -> list[int]:
    lines = [record.envelope for record in log.records]
    return [line.position for line in lines if line.stream in streams]


def of_order(told: Told, *orders: str) -> list[int]:
    streams = [f"{kind}/{order}" for order in orders for kind in ("order", "certificate")]
    return positions(told.log, f"account/{told.account}" if len(orders) > 1 else "", *streams)


def test_an_order_is_shown_from_beginning_to_end(told, given):
    entries = listed(given, "order", told.order)
    assert [entry.position for entry in entries] == of_order(told, told.order)
    assert [entry.type for entry in entries][0::9] == ["order.created", "certificate.revoked"]


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::7", "2001:DB8::7"])
def test_an_address_is_shown_by_what_was_ordered_for_it(told, given, address):
    """RFC 8738: it stands where names stand."""
    entries = listed(given, "name", address)
    assert [entry.position for entry in entries] == of_order(told, told.address)
    assert "10.1.2.3, 2001:db8::7" in entries[0].what


def test_a_serial_is_shown_however_it_is_spelled(told, given):
    spelled = told.serial.upper()
    pairs = ":".join(spelled[n : n + 2] for n in range(0, len(spelled), 2))
    for value in (told.serial, spelled, pairs, f"00:{pairs}"):
        entries = listed(given, "serial", value)
        assert [entry.position for entry in entries] == of_order(told, told.order)


@pytest.mark.parametrize(
    "value", ["www.corp.internal", "WWW.Corp.Internal.", " www.corp.internal "]
)
def test_a_name_is_shown_however_it_is_spelled(told, given, value):
    assert [e.position for e in listed(given, "name", value)] == of_order(told, told.order)


def test_an_account_is_shown_with_all_its_orders(told, given):
    entries = listed(given, "account", told.account)
    assert [entry.position for entry in entries] == of_order(told, told.order, told.failed)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("order", "none"), ("serial", "07"), ("name", "corp.internal"), ("account", "none")],
)
def test_what_the_log_does_not_know_is_not_shown(given, kind, value):
    assert listed(given, kind, value) == []


def test_a_key_for_bindings_is_shown_with_the_accounts_bound_with_it(told, given):
    entries = listed(given, "eab", told.kid)
    streams = [f"eab/{told.kid}", *(f"account/{account}" for account in told.bound)]
    assert [entry.position for entry in entries] == positions(told.log, *streams)
    assert [entry.type for entry in entries] == [
        "eab.created",
        *(["account.created", "eab.used"] * 2),
        "eab.revoked",
    ]
    assert f"bound with the external account key {told.kid}" in entries[1].what


@pytest.mark.parametrize(
    ("uses", "told"), [(0, "for any number of accounts"), (1, "for 1 account"), (2, "2 accounts")]
)
def test_a_key_for_bindings_says_how_many_it_binds(uses, told):
    assert story(EabCreated("k", max_uses=uses)).endswith(told)


def test_a_recovered_account_is_shown_with_its_key(tmp_path):
    log = a_log(nodes=2)
    kid = log.an_eab_key()
    lost = a_loss(log, lambda: log.an_account(eab=kid, by=1), by=1)
    log.a_start()
    a_recovery(log, lost, by=1)
    entries = listed(Given([[path] for path in log.write(tmp_path)]), "eab", kid)
    assert "account.recovered" in [entry.type for entry in entries]


def test_a_serial_is_a_number(given):
    with pytest.raises(ValueError, match="invalid literal"):
        listed(given, "serial", "web.corp.internal")


def test_who_did_it_is_sealed_unless_the_key_is_there(told):
    (sealed, *_), (clear, *_) = (
        listed(given, "order", told.order) for given in (told.journals, told.with_database)
    )
    assert (sealed.actor.kind, sealed.actor.id, sealed.actor.sealed) == (
        "account",
        told.account,
        True,
    )
    assert sealed.actor.clear is None
    assert '"address":"192.0.2.7"' in clear.actor.clear
    account = f"account/{told.account}"
    created = [
        next(entry for entry in listed(given, "account", told.account) if entry.stream == account)
        for given in (told.journals, told.with_database)
    ]
    assert [entry.what.rpartition(": ")[2] for entry in created] == [
        "sealed",
        '["mailto:ops@corp.internal"]',
    ]


def test_an_erased_subject_stays_sealed(tmp_path):
    log = a_log()
    order = log.an_order("web.corp.internal")
    log.subjects = dict.fromkeys(log.subjects, b"another key of 32 bytes ........")
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "audit.log").write_bytes(log.nodes[0].journal)
        given = Given()
        given.add_node(folder, folder / "audit.log", a_database(log, folder / "db.sqlite"))
        entry = listed(given, "order", order)[0]
        assert (entry.actor.sealed, entry.actor.clear) == (True, None)
        log.subjects = {}


def test_every_event_has_a_sentence():
    records = [record for make in GOLDEN.values() for record in make().records]
    for record in records:
        what = show.entry(record).what
        assert what
        assert "\n" not in what
        assert what != record.envelope.type
    assert {record.envelope.type for record in records} == set(TYPES)


def test_a_failure_that_is_not_final_says_so():
    fact = IssuanceFailed(1, "lab", "the authority was away", final=False)
    assert story(fact) == "attempt 1 at lab failed, to be tried again: the authority was away"


def test_what_this_version_cannot_read_is_shown_by_its_type():
    assert "(a newer version wrote it)" in show.entry(unreadable("future.happened")).what
    assert show.entry(unreadable("order.ready", actor=b"7")).actor.kind == "unreadable"


def unreadable(kind: str, actor: bytes = b'{"kind":"system"}'):
    log = a_log()
    envelope = msgspec.structs.replace(
        log.records[-1].envelope, type=kind, actor=msgspec.Raw(actor), data=msgspec.Raw(b"{}")
    )
    return seal_line(envelope, log.nodes[0].key)


def test_a_line_that_cannot_be_read_is_named(tmp_path):
    log = a_log()
    order = log.an_order("web.corp.internal")
    path = log.write(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"v":1,"position":5', b'"v":2,"position":5'))
    with pytest.raises(JournalBroken, match="envelope format 2") as broken:
        listed(Given([[path]]), "order", order)
    assert broken.value.line == 5


@pytest.mark.parametrize("kind", ["journals", "database"])
def test_a_renewal_and_the_campaign_behind_it_are_shown(tmp_path, kind):
    log = a_log()
    first, second = a_renewal(log)
    other = log.an_order("other.corp.internal")
    campaign = a_campaign(log, first)
    a_campaign(log, other)
    given = Given([log.write(tmp_path)])
    if kind == "database":
        given = Given()
        database = a_database(log, tmp_path / "db.sqlite")
        given.add_node(tmp_path, tmp_path / "node1" / "audit.log", database)
    entries = listed(given, "serial", log.serials[first])
    streams = (f"order/{first}", f"certificate/{first}", f"renewal/{campaign}")
    assert [entry.position for entry in entries] == positions(log, *streams)
    told = [entry.what for entry in entries]
    after = log.serials[second]
    assert any(f"was replaced by certificate {after} of order {second}" in what for what in told)
    assert told[-1].startswith("asked for 1 certificate, from lab, to be renewed from ")
    [ordered] = [e.what for e in listed(given, "order", second) if e.type == "order.created"]
    assert f"to replace that of order {first}" in ordered


@pytest.mark.parametrize("kind", ["journals", "database"])
def test_a_certificate_that_nobody_got_is_found_by_its_serial(tmp_path, kind):
    log = a_log()
    account = log.an_account()
    order = a_lost_answer(log, "web.corp.internal", account=account)
    log.an_order("other.corp.internal", account=account)
    log.a_twin(order, 1, b"the twin")  # whose serial number is 77
    published(log, order, b"the twin")
    given = Given([log.write(tmp_path)])
    if kind == "database":
        given = Given()
        database = a_database(log, tmp_path / "db.sqlite")
        given.add_node(tmp_path, tmp_path / "node1" / "audit.log", database)
    told = [entry.what for entry in listed(given, "serial", "77")]
    assert [entry.stream for entry in listed(given, "serial", "77")][-1] == f"certificate/{order}"
    assert told[-2:] == [
        (
            "lab issued certificate 77 for attempt 1, which nobody gets, to be revoked there:"
            " it was found"
        ),
        "lab has revoked certificate 77",
    ]
    assert any("was given up, and a certificate of it may exist" in what for what in told)


def test_a_campaign_says_what_it_is_about():
    def told(**by):
        return story(RenewalRequested("c", ("a", "b"), "then", "later", **by))

    assert told() == "asked for 2 certificates, listed by serial, to be renewed from then to later"
    assert ", valid since before noon, " in told(before="noon")
    assert ", from lab and valid since before noon, " in told(authority="lab", before="noon")


def test_a_proof_ahead_of_an_order_is_told_as_none():
    identifier = Identifier("dns", "web.corp.internal")
    offered = (OfferedAuthorization(identifier, (OfferedChallenge("http-01", "t"),)),)
    named = {"expires": "2026-12-01T00:00:00Z", "policy": "p", "authority": "lab"}
    fact = OrderCreated("o", "a", (identifier,), offered, **named, preauthorization=True)
    assert story(fact) == (
        "asked to prove web.corp.internal ahead of any order under policy p, from lab"
    )


@pytest.mark.parametrize("where", ["journals", "database"])
def test_what_was_refused_is_shown_by_account_and_by_name(tmp_path, where):
    log = a_log(nodes=2)
    first, second = log.an_account(), log.an_account()
    for account, name in ((first, "web.corp.internal"), (second, "down.corp.internal")):
        fact = RequestRefused("failed-validation", "it failed 5 times", 3, [name])
        log.say(fact, f"refusals/{account}", actor=log.actor(account))
    by = log.an_administrator()
    log.say(LimitsReset(("order-creation",), first), f"limits/{first}", actor=by)
    files = log.write(tmp_path)
    given = Given([[path] for path in files])
    if where == "database":
        given = Given()
        database = a_database(log, tmp_path / "db.sqlite")
        given.add_node(tmp_path, files[0], database)
    told = [entry.what for entry in listed(given, "account", first)][-2:]
    assert told == [
        "was refused 3 times for web.corp.internal (failed-validation): it failed 5 times",
        f"had it forgotten what account {first} had spent of order-creation",
    ]
    [only] = listed(given, "name", "Down.corp.internal")
    assert (only.actor.id, only.type) == (second, "request.refused")


@pytest.mark.parametrize("where", ["journals", "database"])
def test_the_license_is_told_from_its_beginning(tmp_path, where):
    log = a_log(nodes=2)
    licenses(log)
    log.an_order("web.corp.internal", by=1)
    files = log.write(tmp_path)
    given = Given([[path] for path in files])
    if where == "database":
        given = Given()
        database = a_database(log, tmp_path / "db.sqlite")
        given.add_node(tmp_path, files[0], database)
    told = [entry.what for entry in listed(given, "license", "")]
    assert len(told) == 11
    assert told[0].startswith("an evaluation without a license began, until 2026-12-23")
    assert told[1] == "began without a license, as under the plan free, until 2026-11-30T12:00:00Z"
    assert told[-2].startswith("the license's state is acknowledged, before: cold-start (time)")
    assert told[-1] == "the vendor took license " + "2" * 26 + (
        " back at 2026-11-24T12:00:00Z: it was paid back"
    )
    assert len(listed(given, "license", "1" * 26)) == 3
    assert listed(given, "license", "9" * 26) == []
