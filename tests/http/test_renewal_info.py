"""Renewal information as clients ask for it: RFC 9773, pitfalls 44 to 47."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from certeasy.acme.renewal import CertId, cert_id, replaced_by
from certeasy.decide.problems import Refused
from certeasy.settings import RenewalInfoSettings
from projections.certificates import CERTIFICATES
from projections.orders import ORDERS
from tests.fakes.clocks import HeldClock
from tests.make.certificates import BEGIN, a_leaf, cert_id_of, plant
from tests.make.checks import check_node
from tests.make.csrs import a_csr
from tests.make.lab import JOSE, URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import b64
from tests.make.slow_lab import a_lab_with_a_slow_authority

PLACE = "/acme/renewal-info"
EXPLAINED = "https://www.lab.test/why"
ONE = b"\x01" * 20
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def clock() -> HeldClock:
    return HeldClock(BEGIN)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, clock: HeldClock) -> Iterator[Lab]:
    info = RenewalInfoSettings(explanation_url=EXPLAINED)
    with a_lab(
        tmp_path_factory.mktemp("lab"), clock=clock, sections={"renewal_info": info}
    ) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def named(key_id: bytes, serial: bytes) -> str:
    """Return a certID of these octets."""
    return f"{b64(key_id)}.{b64(serial)}"


def asked(lab: Lab, name: str, place: str = PLACE) -> Result:
    """Ask as clients do: a plain GET, with nothing in it."""
    return lab.wire.simulate_get(f"{place}/{name}")


def window_of(result: Result) -> tuple[datetime, datetime]:
    """Return the window in an answer that must be one, its form checked."""
    assert result.status_code == 200, result.text
    assert result.headers["content-type"] == "application/json"
    assert b"\n" not in result.content
    window = result.json["suggestedWindow"]
    assert window.keys() == {"start", "end"}
    start, end = (
        datetime.strptime(window[key], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        for key in ("start", "end")
    )
    assert start < end
    return start, end


def test_rfc_9773_section_4_a_certificate_s_window_is_shown_to_anybody(
    lab: Lab, client: Client
) -> None:
    leaf = x509.load_pem_x509_certificate(client.certificate("web.lab.test"))
    result = asked(lab, cert_id_of(leaf))
    start, end = window_of(result)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert abs((start + (end - start) / 2) - (leaf.not_valid_before_utc + life * 2 / 3)) < HOUR
    assert end - start == timedelta(hours=48)
    assert "replay-nonce" not in result.headers
    assert "explanationURL" not in result.json


def test_rfc_9773_section_4_1_the_url_is_built_from_the_directory(lab: Lab) -> None:
    base = lab.wire.simulate_get("/directory").json["renewalInfo"]
    assert base == f"{URL}{PLACE}"
    plant(lab.server, a_leaf(serial=0x1234))
    window_of(asked(lab, named(ONE, b"\x12\x34"), base.removeprefix(URL)))


def test_rfc_9773_section_4_1_the_example_of_the_rfc_is_read() -> None:
    wanted = cert_id("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    assert wanted.key_id.hex() == "69885b6b87464041e1b37b847ba0ae2cde01c8d4"
    assert wanted.serial == 0x87654321


@pytest.mark.parametrize("serial", [0x7F, 0x80, 0x87654321, 1 << 158, (1 << 159) - 1, 0x0100])
def test_pitfall_44_the_serial_is_a_number_with_or_without_its_sign_octet(
    lab: Lab, serial: int
) -> None:
    """Pitfall 44, RFC 9773 section 4.1: acme.sh and older clients leave out the zero octet."""
    key_id = serial.to_bytes(20, "big")
    plant(lab.server, a_leaf(serial=serial, key_id=key_id))
    bare = serial.to_bytes((serial.bit_length() + 7) // 8, "big")
    answers = [asked(lab, named(key_id, zeros + bare)) for zeros in (b"", b"\0")]
    assert window_of(answers[0]) == window_of(answers[1])
    assert answers[0].headers["retry-after"] == answers[1].headers["retry-after"]


def test_pitfall_44_only_the_last_part_of_the_path_counts(lab: Lab) -> None:
    """Pitfall 44: some clients put a path of their own between."""
    plant(lab.server, a_leaf(serial=0x44))
    name = named(ONE, b"\x44")
    for between in ("/", "/x/", f"/{PLACE}/", "/a.b/"):
        window_of(lab.wire.simulate_get(f"{PLACE}{between}{name}"))
    window_of(lab.wire.simulate_get(f"{PLACE}/{name}/"))


def test_two_issuers_with_the_same_serial_are_told_apart(lab: Lab) -> None:
    """RFC 9773 section 4.1: the key identifier is why the certID has one."""
    for number, life in ((1, 90), (2, 30)):
        plant(lab.server, a_leaf(serial=0x2222, key_id=bytes([number]) * 20, life=life * DAY))
    start, _ = window_of(asked(lab, named(ONE, b"\x22\x22")))
    assert start == BEGIN + 59 * DAY
    start, _ = window_of(asked(lab, named(b"\x02" * 20, b"\x22\x22")))
    assert start == BEGIN + 19 * DAY
    assert problem(asked(lab, named(b"\x03" * 20, b"\x22\x22")))[:2] == (404, "malformed")


def test_a_certificate_without_a_key_identifier_has_no_name(lab: Lab) -> None:
    """Pitfall 45."""
    plant(lab.server, a_leaf(serial=0x3333, key_id=None))
    assert problem(asked(lab, named(ONE, b"\x33\x33")))[:2] == (404, "malformed")


@pytest.mark.parametrize("name", ["AAAA.AAAA", f"{'A' * 27}.AQ", f"{'A' * 90}.{'A' * 90}"])
def test_pitfall_45_a_certificate_of_somebody_else_is_404(lab: Lab, name: str) -> None:
    """Pitfall 45: certbot asks for the certificates of other CAs, too."""
    result = asked(lab, name)
    assert problem(result)[:2] == (404, "malformed")


MALFORMED = {
    "no dot": "AAAA",
    "two dots": "AAAA.AAAA.AAAA",
    "no key identifier": ".AAAA",
    "no serial": "AAAA.",
    "padding": "AQ%3D%3D.AAAA",
    "another alphabet": "AA%2BA.AAAA",
    "stray bits": "AB.AAAA",
    "cut off": "A.AAAA",
    "a space": "A%20AA.AAAA",
    "hex": "69:88.01",
    "no ASCII": "%C3%BC.AAAA",
    "no UTF-8": "%ff.AAAA",
    "too long": "A" * 200 + ".AAAA",
    "nothing": "",
}


@pytest.mark.parametrize("name", MALFORMED.values(), ids=MALFORMED)
def test_pitfall_45_what_is_no_cert_id_is_malformed(lab: Lab, name: str) -> None:
    """Pitfall 45: a problem document, never a 500."""
    assert problem(asked(lab, name))[:2] == (400, "malformed")


@pytest.mark.parametrize("name", [named(ONE, b"\x47\x47"), "AAAA.AAAA", "nonsense"])
def test_pitfall_47_every_answer_says_when_to_ask_again(lab: Lab, name: str) -> None:
    """Pitfall 47, RFC 9773 section 4.3.2: whole seconds, also where nothing is found."""
    plant(lab.server, a_leaf(serial=0x4747))
    wait = asked(lab, name).headers["retry-after"]
    assert 0.8 * 6 * 3600 <= int(wait) <= 1.2 * 6 * 3600
    assert asked(lab, name).headers["retry-after"] == wait


def test_a_revoked_certificate_is_to_be_renewed_at_once(
    lab: Lab, client: Client, clock: HeldClock
) -> None:
    """RFC 9773 section 4.2: the window is past, and its end still after its start."""
    chain = client.certificate("web.lab.test")
    leaf = x509.load_pem_x509_certificate(chain)
    client.post(f"{URL}/acme/revoke-cert", {"certificate": b64(leaf.public_bytes(Encoding.DER))})
    result = asked(lab, cert_id_of(leaf))
    _, end = window_of(result)
    assert end <= clock.now()
    assert result.json["explanationURL"] == EXPLAINED
    assert "retry-after" in result.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_asked_by_get_alone(lab: Lab, method: str) -> None:
    """RFC 9773 section 4.1; RFC 8555 section 6.3 allows it unsigned."""
    result = lab.wire.simulate_request(method, f"{PLACE}/AAAA.AAAA")
    assert problem(result)[:2] == (405, "malformed")
    assert "GET" in result.headers["allow"]
    head = lab.wire.simulate_head(f"{PLACE}/AAAA.AAAA")
    assert (head.status_code, head.content) == (404, b"")


@given(st.binary(min_size=1, max_size=40), st.integers(0, (1 << 159) - 1), st.integers(0, 2))
def test_a_cert_id_is_read_back_however_its_serial_is_written(
    key_id: bytes, serial: int, zeros: int
) -> None:
    bare = serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big")
    assert cert_id(named(key_id, bytes(zeros) + bare)) == CertId(key_id, serial)


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_=+/-]{0,9}\.[A-Za-z0-9_=.-]{0,9}"))
def test_any_text_is_a_cert_id_or_malformed(text: str) -> None:
    with contextlib.suppress(Refused):
        found = cert_id(text)
        assert found.key_id
        assert found.serial >= 0
        assert text.count(".") == 1


@given(st.binary(max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_path_is_answered_with_a_problem(lab: Lab, data: bytes) -> None:
    name = "".join(f"%{octet:02x}" for octet in data)
    assert problem(asked(lab, name))[0] in (400, 404)


# --- An order that replaces a certificate (RFC 9773 section 5)


def leaf_of(client: Client, order: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(client.post(client.see(order)["certificate"]).content)


def test_rfc_9773_section_5_an_order_shows_what_it_replaces(client: Client) -> None:
    name = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
    result = client.order("web.lab.test", "www.lab.test", replaces=name)
    assert result.status_code == 201
    assert result.json["replaces"] == name
    order = result.headers["location"]
    assert client.see(order)["replaces"] == name
    assert client.prove(order)["replaces"] == name
    result = client.finalize(order, a_csr("web.lab.test", "www.lab.test"))
    assert (result.status_code, result.json["replaces"]) == (200, name)
    assert client.see(order)["status"] == "valid"
    assert "replaces" not in client.see(client.placed("web.lab.test"))


def test_pitfall_44_the_predecessor_is_named_with_or_without_the_sign_octet(
    lab: Lab, client: Client
) -> None:
    """Pitfall 44: acme.sh leaves the zero octet out; the order says it as the RFC does."""
    account_id = str(client.kid).rpartition("/")[2]
    plant(lab.server, a_leaf(serial=0x87654321), account_id=account_id)
    for serial in ("h2VDIQ", "AIdlQyE"):
        result = client.order("web.lab.test", replaces=f"{b64(ONE)}.{serial}")
        assert result.status_code == 201, result.text
        assert result.json["replaces"] == f"{b64(ONE)}.AIdlQyE"


def test_a_predecessor_without_a_name_of_its_own_is_shown_as_none(lab: Lab, client: Client) -> None:
    """What was placed before stays readable, whatever became of the predecessor's row."""
    name = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
    order = client.order("web.lab.test", replaces=name).headers["location"]
    row = lab.server.committer.get(ORDERS, order.rpartition("/")[2])
    assert row is not None
    nameless = plant(lab.server, a_leaf(serial=0x5555, key_id=None))
    for predecessor in (nameless, "0" * 26):
        assert replaced_by(lab.server.committer, replace(row, replaces=predecessor)) == ""


@pytest.mark.parametrize("name", ["", "nonsense", "AAAA.AAAA", "AQ==.AQ==", "x" * 500])
def test_pitfall_46_an_unknown_predecessor_is_malformed_and_names_replaces(
    client: Client, name: str
) -> None:
    """Pitfall 46: acme.sh orders again without it if the body says so."""
    status, kind, detail = problem(client.order("web.lab.test", replaces=name))
    assert (status, kind) == (400, "malformed")
    assert "replaces" in detail


def test_pitfall_46_a_predecessor_of_somebody_else_is_malformed(lab: Lab, client: Client) -> None:
    """Pitfall 46, RFC 9773 section 5."""
    name = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
    other = lab.client()
    other.register()
    for who, names in ((other, ["web.lab.test"]), (client, ["other.lab.test"])):
        status, kind, detail = problem(who.order(*names, replaces=name))
        assert (status, kind) == (400, "malformed")
        assert "replaces" in detail


def test_pitfall_46_what_is_replaced_is_not_replaced_again(lab: Lab, client: Client) -> None:
    """Pitfalls 43 and 46, RFC 9773 sections 5 and 7.4: 409, alreadyReplaced."""
    name = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
    second = client.order("web.lab.test", replaces=name).headers["location"]
    client.prove(second)
    client.finalize(second, a_csr("web.lab.test"))
    result = client.order("web.lab.test", replaces=name)
    assert problem(result)[:2] == (409, "alreadyReplaced")
    assert "location" not in result.headers
    # Without it the order is one like any other, and the successor has its own successor.
    assert client.order("web.lab.test").status_code == 201
    after = cert_id_of(leaf_of(client, second))
    assert client.order("web.lab.test", replaces=after).status_code == 201
    lines = [
        line
        for line in map(msgspec.json.decode, lab.journal())
        if line["type"] == "certificate.replaced"
        and line["data"]["by"] == second.rpartition("/")[2]
    ]
    assert len(lines) == 1


def test_of_orders_that_race_for_one_place_one_is_finalized(client: Client) -> None:
    """Decided where it happens: under the lock, on rows as they are then."""
    name = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
    orders = [client.order("web.lab.test", replaces=name).headers["location"] for _ in range(4)]
    for order in orders:
        client.prove(order)
    bodies = [
        client.signed(client.see(order)["finalize"], {"csr": b64(a_csr("web.lab.test"))})
        for order in orders
        if client.drop_nonce() is None
    ]
    places = [order.replace("/order/", "/finalize/") for order in orders]
    barrier = Barrier(len(orders))

    def finalize(place: str, body: bytes) -> Result:
        barrier.wait()
        return client.lab.wire.simulate_post(place.removeprefix(URL), body=body, headers=JOSE)

    with ThreadPoolExecutor(len(orders)) as pool:
        results = list(pool.map(finalize, places, bodies))
    assert sorted(result.status_code for result in results) == [200, 409, 409, 409]
    for result in results:
        if result.status_code != 200:
            assert problem(result)[1] == "alreadyReplaced"
    client.drop_nonce()
    statuses = sorted(client.wait(order, "valid", "ready")["status"] for order in orders)
    assert statuses == ["ready", "ready", "ready", "valid"]


def test_what_is_replaced_stays_so_after_a_restart(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        name = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
        waiting = client.order("web.lab.test", replaces=name).headers["location"]
        second = client.order("web.lab.test", replaces=name).headers["location"]
        client.prove(second)
        client.finalize(second, a_csr("web.lab.test"))
        client.wait(second, "valid")
    with a_lab(tmp_path) as lab:
        again = lab.client(client.signer)
        again.register()
        assert problem(again.order("web.lab.test", replaces=name))[:2] == (409, "alreadyReplaced")
        # An order that was placed before is shown as it was, proven, and refused at its end.
        assert again.prove(waiting)["replaces"] == name
        result = again.finalize(waiting, a_csr("web.lab.test"))
        assert problem(result)[:2] == (409, "alreadyReplaced")
    check_node(tmp_path)


def test_a_successor_at_the_authority_holds_its_place_over_a_restart(tmp_path: Path) -> None:
    """RFC 9773 section 5: an order that is processing is not invalid, so it counts."""
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        first = client.issued("web.lab.test")
        name = cert_id_of(leaf_of(client, first))
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=timedelta(seconds=0.05)) as lab:
        client = lab.client(client.signer)
        client.register()
        second = client.order("web.lab.test", replaces=name).headers["location"]
        client.prove(second)
        assert client.finalize(second, a_csr("web.lab.test")).json["status"] == "processing"
        assert problem(client.order("web.lab.test", replaces=name))[:2] == (409, "alreadyReplaced")
        before = lab.server.committer.get(CERTIFICATES, first.rpartition("/")[2])
        assert before is not None
        assert before.replaced_by == ""
    with a_lab(tmp_path) as lab:
        client = lab.client(client.signer)
        client.register()
        assert client.wait(second, "valid", "invalid")["replaces"] == name
        before = lab.server.committer.get(CERTIFICATES, first.rpartition("/")[2])
        assert before is not None
        assert before.replaced_by == second.rpartition("/")[2]
        assert problem(client.order("web.lab.test", replaces=name))[:2] == (409, "alreadyReplaced")
    check_node(tmp_path)
