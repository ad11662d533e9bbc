"""The systemd unit that `certeasy service unit` prints, and the commands that Windows has."""

import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from certeasy.cli import group
from certeasy.cli.service import elsewhere, is_without_password
from certeasy.config import load
from tests.make.configs import a_config

HERE = "this is for Windows; here: certeasy service unit"


def printed(folder: Path, *more: str, **changes: str) -> dict[str, list[str]]:
    """Return the values of each key of the unit for a configuration."""
    config = a_config(folder, **changes)
    done = CliRunner().invoke(group, ["service", "unit", "-f", str(config), *more])
    assert done.exit_code == 0, done.output
    values: dict[str, list[str]] = {}
    for line in done.output.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def test_a_unit_runs_this_certeasy_with_that_configuration_and_is_notified(tmp_path: Path):
    unit = printed(tmp_path)
    program, *words = shlex.split(unit["ExecStart"][0])
    assert Path(program).parent == Path(sys.executable).parent
    assert words == ["serve", "-f", str(tmp_path / "config.yml")]
    assert unit["Type"] == ["notify"]
    assert unit["WatchdogSec"] == ["2min"]
    assert unit["User"] == ["certeasy"]
    assert unit["UMask"] == ["0077"]


def test_a_stop_has_the_time_that_requests_and_jobs_have(tmp_path: Path):
    workers = "{drain-timeout: 60s}"
    assert printed(tmp_path, workers=workers)["TimeoutStopSec"] == ["105"]


def test_the_work_directory_is_made_by_systemd_or_is_all_that_may_be_written(tmp_path: Path):
    assert printed(tmp_path)["ReadWritePaths"] == [str(tmp_path / "work")]
    made = printed(tmp_path, workdir="/var/lib/acme")
    assert (made["StateDirectory"], made["StateDirectoryMode"]) == (["acme"], ["0700"])
    assert "ReadWritePaths" not in made


@pytest.mark.parametrize(("port", "capability"), [(443, "CAP_NET_BIND_SERVICE"), (8443, "")])
def test_a_low_port_takes_one_capability_and_others_none(
    tmp_path: Path, port: int, capability: str
):
    server = f'{{url: [https://acme.corp.test], tls: false, listen: "0.0.0.0:{port}"}}'
    unit = printed(tmp_path, server=server)
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [capability]


def test_the_port_at_which_an_acme_server_looks_takes_the_capability_as_well(tmp_path: Path):
    manager = (
        "{{bundles: [{{name: own, mode: acme, hosts: [acme.corp.test]}}],"
        " acme: {{directory: 'https://ca.test/dir', http-addr: '0.0.0.0:{}'}}}}"
    )
    server = "{url: [https://acme.corp.test]}"
    for port, capability in ((80, "CAP_NET_BIND_SERVICE"), (8080, "")):
        unit = printed(tmp_path, server=server, tls_certificate_manager=manager.format(port))
        assert unit["AmbientCapabilities"] == [capability]


def test_secrets_below_run_credentials_are_loaded_by_systemd(tmp_path: Path):
    secrets = "{key-file: /run/credentials/certeasy.service/secret.key}"
    unit = printed(tmp_path, secrets=secrets)
    assert unit["LoadCredential"] == ["secret.key:/etc/certeasy/credentials/secret.key"]
    assert "LoadCredential" not in printed(tmp_path)


def test_what_notices_are_sent_with_is_loaded_as_well(tmp_path: Path):
    at = "/run/credentials/certeasy.service"
    notices = (
        f"{{webhook: {{url: 'https://hooks.corp.test/', secret-file: {at}/hook}}, smtp: {{host:"
        f" mail.corp.test, from: c@corp.test, to: [p@corp.test], user: c,"
        f" password-file: {at}/mail}}}}"
    )
    loaded = printed(tmp_path, notices=notices)["LoadCredential"]
    assert [line.partition(":")[0] for line in loaded] == ["hook", "mail"]


def test_a_path_with_a_space_and_a_percent_sign_is_one_word_as_it_is(tmp_path: Path):
    folder = tmp_path / "50% of it"
    folder.mkdir()
    unit = printed(folder)
    assert shlex.split(unit["ExecStart"][0])[-1] == str(folder / "config.yml").replace("%", "%%")


@pytest.mark.parametrize("command", ["install", "remove", "start", "stop", "reload", "status"])
def test_what_is_for_windows_says_here_what_to_use_instead(command: str):
    done = CliRunner().invoke(group, ["service", command])
    assert done.exit_code == 1
    assert HERE in done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("account", "without"),
    [
        ("CORP\\gmsa-acme$", True),
        ("NT SERVICE\\certeasy", True),
        ("NT AUTHORITY\\NetworkService", True),
        ("LocalSystem", True),
        ("CORP\\svc-acme", False),
    ],
)
def test_a_password_is_asked_for_where_windows_does_not_have_it(account: str, *, without: bool):
    assert is_without_password(account) is without


def test_what_lies_elsewhere_is_named_for_whoever_gives_the_account_its_rights(tmp_path: Path):
    password = tmp_path / "elsewhere/password"
    config = a_config(
        tmp_path,
        database=f"{{driver: postgres, dsn: 'postgresql://a@db/x', password-file: {password}}}",
        audit=f"{{path: {tmp_path}/journal/audit.log}}",
        logs=f"{{output: file, file: {tmp_path}/work/certeasy.log}}",
    )
    journal = f"write in {tmp_path / 'journal'}"
    assert list(elsewhere(load(config), config, tmp_path / "x")) == [journal, f"read {password}"]
    assert list(elsewhere(load(config), config, tmp_path)) == [journal]
    assert list(elsewhere(load(a_config(tmp_path)), config, tmp_path / "x")) == []


def test_parts_for_windows_are_compiled_on_every_system():
    root = Path(__file__).resolve().parents[2] / "certeasy"
    parts = ["cli/scm.py", "cli/service_process.py", "cluster/access_lists.py", "eventlog.py"]
    for part in parts:
        compile((root / part).read_bytes(), part, "exec")
