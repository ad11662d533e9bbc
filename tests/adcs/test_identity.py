"""Who we are to the domain, as far as no domain controller is needed to tell."""

import io
import os
import pwd

import pytest
import rich.console

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.identity import (
    MOST_OF_A_SECRET_FILE,
    Credentials,
    NotAuthenticated,
    NtlmIdentity,
    read_secret,
)

SECRET = "Tr0ub4dor&3"


@pytest.fixture
def password_file(tmp_path):
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return file


def test_ntlm_shows_the_password_of_its_file_as_it_is_now(password_file):
    identity = NtlmIdentity("svc-acme", "LAB", password_file)
    shown = identity.credentials("host", "ca1.lab.test", Deadline(5))
    assert (shown.user, shown.domain, shown.password) == ("svc-acme", "LAB", SECRET)
    assert not shown.kerberos
    password_file.write_text("changed\r\nof no concern\n")
    identity.forget("host", "ca1.lab.test")
    assert identity.credentials("host", "ca1.lab.test", Deadline(5)).password == "changed"


def test_ntlm_takes_a_hash_in_the_place_of_a_password(password_file):
    password_file.write_text("nt-hash:0123456789ABCDEF0123456789abcdef\n")
    shown = NtlmIdentity("svc", "LAB", password_file).credentials("host", "ca1", Deadline(5))
    assert (shown.nt_hash, shown.password) == ("0123456789abcdef0123456789abcdef", "")
    password_file.write_text("nt-hash:is-how-my-password-begins\n")
    shown = NtlmIdentity("svc", "LAB", password_file).credentials("host", "ca1", Deadline(5))
    assert (shown.nt_hash, shown.password) == ("", "nt-hash:is-how-my-password-begins")


def test_what_is_shown_is_never_printed(password_file):
    identity = NtlmIdentity("svc-acme", "LAB", password_file)
    shown = identity.credentials("host", "ca1.lab.test", Deadline(5))
    paper = io.StringIO()
    rich.console.Console(file=paper).print(shown)
    for text in (repr(shown), str(shown), f"{shown}", paper.getvalue(), identity.described):
        assert SECRET not in text
        assert "svc-acme" in text
    ticket = Credentials("svc", "LAB", kerberos=True, tgs={"sessionKey": SECRET})
    assert SECRET not in repr(ticket)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"secret\n", 0o640, "mode 0640"),
        (b"secret\n", 0o604, "mode 0604"),
        (b"\nsecret\n", 0o600, "no password in its first line"),
        (b"", 0o600, "no password in its first line"),
        (b"\xff\n", 0o600, "not UTF-8"),
        (b"x" * (MOST_OF_A_SECRET_FILE + 1), 0o600, "larger than any"),
    ],
)
def test_a_password_file_that_cannot_be_one_is_refused_with_a_remedy(tmp_path, content, mode, told):
    file = tmp_path / "password"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(NotAuthenticated, match=told) as refused:
        NtlmIdentity("svc", "LAB", file).credentials("host", "ca1", Deadline(5))
    assert refused.value.remedy
    assert not refused.value.transient
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotAuthenticated, match=r"keytab .*gone.* cannot be read: No such file"):
        read_secret(tmp_path / "gone", "the keytab")


if os.geteuid() == 0:  # only root can give a file away

    def test_a_secret_of_another_user_is_not_trusted_however_private_it_is(tmp_path):
        """Whoever owns it decides as whom this server asks, and for how long it is locked out."""
        file = tmp_path / "password"
        file.write_bytes(b"secret\n")
        file.chmod(0o600)
        assert read_secret(file, "password-file") == b"secret\n"
        os.chown(file, 61234, 0)
        with pytest.raises(NotAuthenticated, match=r"belongs to uid 61234.* runs as root") as told:
            read_secret(file, "password-file")
        assert "run this as uid 61234" in told.value.remedy
        os.chown(file, pwd.getpwnam("nobody").pw_uid, 0)
        with pytest.raises(NotAuthenticated, match=r"belongs to nobody, .*runs as root"):
            NtlmIdentity("svc", "LAB", file).credentials("host", "ca1", Deadline(5))


def test_a_private_file_may_be_read_only(tmp_path):
    file = tmp_path / "keytab"
    file.write_bytes(b"\x05\x02")
    file.chmod(0o400)
    assert read_secret(file, "the keytab") == b"\x05\x02"
