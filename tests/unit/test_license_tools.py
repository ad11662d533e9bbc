"""A vendor makes its key, licenses and what takes them back, each into a file of its own."""

from pathlib import Path

from click.testing import CliRunner

from certeasy.licensing import vendor
from certeasy.licensing.file import Payload, Withdrawal, read
from tests.make.licenses import INSTALLATION
from tools.license_issue import license_issue


def run(*words: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(license_issue, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_what_a_vendor_makes_is_taken_by_a_build_with_its_key(tmp_path: Path) -> None:
    private, public = tmp_path / "vendor.key", tmp_path / "vendor.pem"
    run("key", "--out", private, "--public", public)
    assert private.stat().st_mode & 0o077 == 0
    key = vendor.public_key(public)
    made = tmp_path / "made.lic"
    about = ("--key", private, "--plan", "starter", "--holder", "The lab", "--days", "30")
    here = INSTALLATION.lower().replace("-", "")
    told = run("license", *about, "--installation", here, "--managed-servers", "9",
               "--authorities", "1", "--trial", "--out", made)  # fmt: skip
    found = read(made.read_bytes(), key)
    assert isinstance(found, Payload)
    assert (found.limits.managed_servers, found.limits.authorities, found.trial) == (9, 1, True)
    assert found.installation == INSTALLATION
    assert found.key in told
    gone = tmp_path / "gone.lic"
    run("revocation", "--key", private, "--id", found.id, "--reason", "paid back", "--out", gone)
    back = read(gone.read_bytes(), key)
    assert isinstance(back, Withdrawal)
    assert (back.id, back.reason) == (found.id, "paid back")


def test_what_no_server_would_take_is_not_made(tmp_path: Path) -> None:
    private, public = tmp_path / "vendor.key", tmp_path / "vendor.pem"
    run("key", "--out", private, "--public", public)
    assert "File exists" in run("key", "--out", private, "--public", public, code=1)
    about = ("--key", private, "--plan", "pro", "--days", "1", "--out", tmp_path / "x.lic")
    wrong = run("license", *about, "--holder", "The lab", "--installation", "INST-1", code=2)
    assert "has 1 characters behind INST-" in wrong
    told = run("license", *about, "--holder", "", "--installation", INSTALLATION, code=1)
    assert "no server would take it" in told
    public_key = ("revocation", "--key", tmp_path / "x.key", "--id", "1", "--reason", "why")
    (tmp_path / "x.key").write_bytes(private.read_bytes())
    told = run(*public_key, "--out", tmp_path / "x.lic", code=1)
    assert "no server would take it" in told
    assert not (tmp_path / "x.lic").exists()
