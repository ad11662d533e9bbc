"""Keys: out of passwords as RFC 3962 derives them, and out of keytabs as others write them."""

import pytest

from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.keys import AES128, AES256, RC4, KeytabKeys, PasswordKeys, from_password
from tests.make.keytabs import a_hole, a_keytab, an_entry

WHO = "svc@LAB.TEST"


@pytest.mark.parametrize(
    ("password", "salt", "rounds", "aes128", "aes256"),
    [
        (
            "password",
            b"ATHENA.MIT.EDUraeburn",
            1200,
            "4c01cd46d632d01e6dbe230a01ed642a",
            "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a",
        ),
        (
            "X" * 64,
            b"pass phrase equals block size",
            1200,
            "59d1bb789a828b1aa54ef9c2883f69ed",
            "89adee3608db8bc71f1bfbfe459486b05618b70cbae22092534e56c553ba4b34",
        ),
        (
            "\U0001d11e",
            b"EXAMPLE.COMpianist",
            50,
            "f149c1f2e154a73452d43e7fe62a56e5",
            "4b6d9839f84406df1f09cc166db4b83c571848b784a3d6bdc346589a3e393f9e",
        ),
    ],
)
def test_passwords_become_the_keys_of_rfc_3962(monkeypatch, password, salt, rounds, aes128, aes256):
    # The examples of its appendix B take fewer rounds than this server would accept.
    monkeypatch.setattr("certeasy.ca.adcs.keys.USUAL_ROUNDS", 1)
    count = rounds.to_bytes(4, "big")
    assert from_password(AES128, password, salt, count).contents.hex() == aes128
    assert from_password(AES256, password, salt, count).contents.hex() == aes256


def test_no_rounds_told_are_the_usual_ones():
    told = from_password(AES256, "secret", b"salt", (4096).to_bytes(4, "big"))
    assert from_password(AES256, "secret", b"salt", b"").contents == told.contents


def test_an_nt_hash_is_the_rc4_key_of_a_password(tmp_path):
    file = tmp_path / "password"
    file.write_text("password")
    file.chmod(0o600)
    key = PasswordKeys(file).key(RC4, b"", b"")
    assert key.contents.hex() == "8846f7eaee8fb117ad06bdd830b7586c"


def test_the_newest_keys_of_a_keytab_are_taken_and_nobody_elses(tmp_path):
    file = a_keytab(
        tmp_path / "keytab",
        an_entry(WHO, AES256, b"a" * 32, 3),
        a_hole(40),
        an_entry("other@LAB.TEST", AES256, b"x" * 32, 9),
        an_entry("svc@OTHER.TEST", AES256, b"y" * 32, 9),
        an_entry(WHO, AES256, b"b" * 32, 4, long_version=False),
        an_entry(WHO, AES128, b"c" * 16, 4),
        an_entry(WHO, RC4, b"d" * 16, 3),
        an_entry(WHO, 3, b"e" * 8, 4),
    )
    keys = KeytabKeys(file, "SVC", "lab.test".upper())
    assert keys.etypes == (AES256, AES128)
    assert keys.key(AES256, b"", b"").contents == b"b" * 32
    assert keys.key(AES128, b"", b"").contents == b"c" * 16


def test_a_version_above_255_is_read_whole(tmp_path):
    file = a_keytab(
        tmp_path / "keytab",
        an_entry(WHO, AES256, b"a" * 32, 255),
        an_entry(WHO, AES256, b"b" * 32, 256),
    )
    assert KeytabKeys(file, "svc", "LAB.TEST").key(AES256, b"", b"").contents == b"b" * 32


def test_zeros_end_a_keytab(tmp_path):
    file = a_keytab(tmp_path / "keytab", an_entry(WHO, AES256, b"a" * 32), bytes(8))
    assert KeytabKeys(file, "svc", "LAB.TEST").etypes == (AES256,)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x05\x01rest", "no keytab of version 2"),
        (b"", "no keytab of version 2"),
        (b"\x05\x02", "has keys of: nothing"),
        (b"\x05\x02" + an_entry("host/a@LAB.TEST", AES256, b"a" * 32), "keys of: host/a@LAB.TEST"),
        (b"\x05\x02" + an_entry(WHO, AES256, b"a" * 31), "has no key of svc@LAB.TEST"),
        (b"\x05\x02" + an_entry(WHO, AES256, b"a" * 32)[:-9], "torn"),
        (b"\x05\x02\x00\x00", "torn"),
    ],
)
def test_what_is_no_keytab_of_the_account_is_refused_with_a_remedy(tmp_path, content, told):
    file = tmp_path / "keytab"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(NotAuthenticated, match=told) as refused:
        KeytabKeys(file, "svc", "LAB.TEST")
    assert "export" in refused.value.remedy
