"""A license is taken as the vendor signed it, or refused by the name of what is wrong with it."""

import base64
import itertools

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from certeasy.licensing import keys, vendor
from certeasy.licensing.file import (
    LARGEST,
    LICENSE,
    Payload,
    Withdrawal,
    WrongLicense,
    canonical,
    encode,
    fault,
    installing,
    read,
    write,
)
from projections.fold import fold
from projections.license import LICENSE as ROWS
from projections.license import UNLIMITED
from projections.tables import WorkingRows
from tests.make.journals import a_log
from tests.make.licenses import (
    INSTALLATION,
    VENDOR,
    a_license_file,
    a_payload,
    a_revocation_file,
)

PUBLIC = VENDOR.public_key()
BLOCK = a_license_file().encode()


def taken(block: bytes) -> Payload:
    found = read(block, PUBLIC)
    assert isinstance(found, Payload)
    return found


def signed(told: bytes) -> bytes:
    return write(LICENSE, told, VENDOR.sign(told)).encode()


def refused(block: bytes) -> str:
    with pytest.raises(WrongLicense) as refusal:
        read(block, PUBLIC)
    return str(refusal.value)


# -- the file --------------------------------------------------------------------------------------


def test_a_license_says_what_was_signed():
    found = taken(BLOCK)
    assert found == a_payload()
    assert (found.may.managed_servers, found.may.databases) == (25, ("sqlite",))
    assert taken(a_license_file(plan="pro").encode()).may.managed_servers == UNLIMITED


def test_a_revocation_says_what_was_signed():
    assert isinstance(read(a_revocation_file().encode(), PUBLIC), Withdrawal)


def test_lines_may_end_as_mail_leaves_them():
    assert taken(BLOCK.replace(b"\n", b"\r\n")) == a_payload()
    assert canonical(BLOCK.replace(b"\n", b"\r\n")) == BLOCK.decode()


def test_every_changed_character_is_refused():
    for place in range(len(BLOCK)):
        changed = bytearray(BLOCK)
        changed[place] = ord("B") if changed[place] == ord("A") else ord("A")
        assert refused(bytes(changed))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(data):
    assert refused(data)


def test_a_license_of_another_vendor_is_refused():
    told = refused(a_license_file(Ed25519PrivateKey.generate()).encode())
    assert "its signature is not the vendor's" in told


HEAD, SIGNED, EMPTY, *PAYLOAD, END, _ = BLOCK.decode().split("\n")


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"x" * (LARGEST + 1), "is larger than"),
        (BLOCK + b"\n", "is not one block"),
        (b" " + BLOCK, "is not one block"),
        (BLOCK + BLOCK, "is not one block"),
        (BLOCK.replace(b"\n\n", b"\n"), "is not one block"),
        (BLOCK.replace(b"END CERTEASY LICENSE", b"END CERTEASY LICENSE REVOCATION"), "is not one"),
        ("\ufeff".encode() + BLOCK, "no ASCII"),
        (BLOCK.replace(b"\n", b"\r\n", 1), "in different ways"),
        (BLOCK.replace(b"\n", b"\r"), "in different ways"),
        (BLOCK.replace(f"{SIGNED}\n".encode(), b"Signature: ?\n"), "the signature is no base64"),
        ("\n".join([HEAD, SIGNED, "", "".join(PAYLOAD), END, ""]).encode(), "not in lines of 64"),
        ("\n".join([HEAD, SIGNED, "", *PAYLOAD, "", END, ""]).encode(), "not in lines of 64"),
        (f"{HEAD}\n{SIGNED}\n\n{END}\n".encode(), "not in lines of 64"),
        ("\n".join([HEAD, SIGNED, "", "\v" + PAYLOAD[0][1:], END, ""]).encode(), "is no base64"),
        (f"{HEAD}\n{SIGNED}\n\nQUJDRB==\n{END}\n".encode(), "that nobody writes"),
    ],
)
def test_what_is_no_such_block_is_refused(block, why):
    assert why in refused(block)


def members(**changed) -> bytes:
    told = {**msgspec.json.decode(encode(a_payload())), **changed}
    return msgspec.json.encode({name: value for name, value in told.items() if value is not None})


TOLD = encode(a_payload())


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"no json", "is no JSON"),
        (b"\xff", "is no JSON"),
        (members(colour="red"), "the member 'colour', which this version does not know"),
        (members(key=None), "missing required field `key`"),
        (members(format=2), "Invalid enum value 2"),
        (TOLD.replace(b'"format":1,', b'"format":1, '), "it has white space"),
        (TOLD + b"\n", "it has white space"),
        (TOLD.replace(b'{"format"', b'{"trial":true,"format"'), "a member twice"),
        (TOLD.replace(b"The lab", b"The\\u0020lab"), "spelt otherwise"),
        (members(key="CRT-1"), "its key has 1 characters behind CRT-, not 30"),
        (members(installation="CRT-1"), "its installation is no key that begins with INST-"),
        (members(key=a_payload().key.lower()), "its key is not written as CRT-"),
        (members(expires="2026-11-02"), "its expires is no time such as"),
        (members(issued_at="2026-1-02T09:00:00Z"), "its issued_at is no time such as"),
        (members(expires="2026-11-02T09:00:00Z"), "it would expire before it begins"),
        (members(holder="two\nlines"), "holder"),
        (members(holder=""), "holder"),
        (
            members(
                limits={**msgspec.to_builtins(a_payload().limits), "databases": ["sqlite"] * 2}
            ),
            "its databases name one of them twice",
        ),
    ],
)
def test_what_the_vendor_would_not_sign_is_refused_also_if_it_is_signed(payload, why):
    assert why in refused(signed(payload))


def test_a_revocation_without_a_time_is_refused():
    gone = msgspec.json.decode(base64.b64decode("".join(a_revocation_file().split("\n")[3:-2])))
    told = msgspec.json.encode({**gone, "revoked_at": "soon"})
    block = write("LICENSE REVOCATION", told, VENDOR.sign(told)).encode()
    assert "its revoked_at is no time" in refused(block)


# -- in the log ------------------------------------------------------------------------------------


def in_the_log(payload: Payload, **changed):
    log = a_log()
    fact = installing(payload, a_license_file(), "file")
    log.say(replace(fact, **changed), "license")
    rows = WorkingRows(lambda _table, _key: None)
    for record in log.records:
        fold(record, rows)
    row = rows.get(ROWS, "license")
    assert row is not None
    return row.installed


def test_what_the_log_says_of_a_license_is_held_against_what_was_signed():
    assert fault(in_the_log(a_payload()), PUBLIC, INSTALLATION) == ""
    more = in_the_log(a_payload(), managed_servers=1000)
    assert "other than what the vendor signed" in fault(more, PUBLIC, INSTALLATION)
    longer = in_the_log(a_payload(), expires="2036-11-02T09:00:00Z")
    assert "other than what the vendor signed" in fault(longer, PUBLIC, INSTALLATION)
    gone = in_the_log(a_payload(), block=a_revocation_file())
    assert "other than what the vendor signed" in fault(gone, PUBLIC, INSTALLATION)
    forged = in_the_log(a_payload(), block=a_license_file(Ed25519PrivateKey.generate()))
    assert "cannot be believed: its signature" in fault(forged, PUBLIC, INSTALLATION)
    elsewhere = keys.installation_key("another")
    assert "is for the installation" in fault(in_the_log(a_payload()), PUBLIC, elsewhere)


# -- keys that people type -------------------------------------------------------------------------

random_keys = st.binary(min_size=19, max_size=19).map(keys.license_key)


@given(random_keys)
def test_a_key_is_read_as_it_was_written(key):
    assert keys.read(key, keys.LICENSE) == key
    assert len(key) == len("CRT") + 5 * 7


@given(random_keys)
def test_a_key_is_read_as_people_type_it(key):
    typed = key.lower().replace("1", "l").replace("0", "o").replace("-", " ", 3)
    assert keys.read(typed, keys.LICENSE) == key
    assert keys.read(key.replace("1", "I").replace("-", ""), keys.LICENSE) == key


@given(random_keys, st.integers(0, 29), st.integers(1, 31))
def test_one_wrong_character_is_found(key, place, by):
    symbols = key[4:].replace("-", "")
    wrong = keys.ALPHABET[(keys.ALPHABET.index(symbols[place]) + by) % 32]
    with pytest.raises(keys.WrongKey, match="was mistyped"):
        keys.read("CRT" + symbols[:place] + wrong + symbols[place + 1 :], keys.LICENSE)


def test_nearly_all_neighbours_that_changed_places_are_found():
    found = total = 0
    for first, second in itertools.permutations(keys.ALPHABET, 2):
        body = f"{first}{second}" + "0" * 27
        key = body + keys._check(body)
        total += 1
        try:
            keys.read(f"CRT{second}{first}{key[2:]}", keys.LICENSE)
        except keys.WrongKey:
            found += 1
    assert total - found == 2


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "no key that begins with CRT-"),
        ("x" * 1000, "no key that begins with CRT-"),
        ("INST-000000", "no key that begins with CRT-"),
        ("CRT-U", "has the character 'U', which is in no key"),
        ("CRT-123456", "has 6 characters behind CRT-, not 30"),
    ],
)
def test_what_is_no_key_is_refused(typed, why):
    with pytest.raises(keys.WrongKey, match=why):
        keys.read(typed, keys.LICENSE)


def test_an_installation_has_the_same_key_for_ever():
    key = keys.installation_key("00000001-0000-4000-8000-0000000000aa")
    assert key == INSTALLATION == "INST-5Q062R-E551TG-F7QFB5-40PY50-QKKNBX"
    assert key != keys.installation_key("00000001-0000-4000-8000-0000000000ab")


# -- the vendor's key ------------------------------------------------------------------------------


def test_the_build_has_a_vendor_s_key():
    assert vendor.public_key()


def test_a_build_without_a_usable_key_says_so(tmp_path):
    with pytest.raises(vendor.NoVendorKey, match="cannot be read"):
        vendor.public_key(tmp_path / "none.pem")
    other = tmp_path / "other.pem"
    public = generate_private_key(SECP256R1()).public_key()
    other.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(vendor.NoVendorKey, match="no Ed25519 public key"):
        vendor.public_key(other)
