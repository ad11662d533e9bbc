"""`validate` looks at what the configuration names on the disk, and touches nothing."""

import pytest
from click.testing import CliRunner

from certeasy.cli import group
from tests.make.configs import a_config
from tests.make.tls_files import make_server_certificate

BUNDLE = """{{bundles: [{{name: own, hosts: [acme.corp.test], mode: files,
    certificate: "%CONFIGDIR%/{certificate}", key: "%CONFIGDIR%/{key}"}}]}}"""


def validate(path):
    return CliRunner().invoke(group, ["validate", "-f", str(path)])


def with_tls(folder, certificate="tls.pem", key="tls.key"):
    return a_config(
        folder,
        server="{url: [https://acme.corp.test]}",
        tls_certificate_manager=BUNDLE.format(certificate=certificate, key=key),
    )


def test_a_configuration_in_order_is_said_to_be(tmp_path):
    make_server_certificate(tmp_path)
    result = validate(with_tls(tmp_path))
    assert result.exit_code == 0, result.output
    assert "in order" in result.output


def test_validate_creates_nothing(tmp_path):
    path = a_config(tmp_path)
    validate(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_certificate_that_is_not_there_is_named_with_its_line(tmp_path):
    result = validate(with_tls(tmp_path))
    assert result.exit_code == 1
    assert "config.yml:" in result.output
    assert "bundles[0].certificate" in result.output
    assert "No such file" in result.output


def test_a_key_of_another_certificate_is_refused(tmp_path):
    make_server_certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    make_server_certificate(other)
    result = validate(with_tls(tmp_path, key="other/tls.key"))
    assert result.exit_code == 1
    assert "bundles[0]" in result.output


@pytest.mark.parametrize("section", ["database", "audit"])
def test_a_path_in_a_directory_that_is_not_there_is_refused(tmp_path, section):
    result = validate(a_config(tmp_path, **{section: '{path: "%CONFIGDIR%/nowhere/file"}'}))
    assert result.exit_code == 1
    assert f"{section}.path" in result.output
    assert "does not exist" in result.output


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "work").write_text("")
    result = validate(a_config(tmp_path))
    assert result.exit_code == 1
    assert "workdir" in result.output


def test_a_database_path_that_is_a_directory_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    result = validate(a_config(tmp_path, database='{path: "%CONFIGDIR%/there"}'))
    assert result.exit_code == 1
    assert "is a directory" in result.output


ADCS = """[{{name: ca, type: adcs, configuration: {{ca-name: 'ca1.corp.test\\CA', auth: ntlm,
    certificate-template: W, domain: CORP, user: svc, {}}}}}]"""
CLI = """[{{name: ca, type: adcs-cli, configuration: {{ca-name: 'ca1.corp.test\\CA',
    certificate-template: W, {}}}}}]"""


def with_authority(folder, text, *settings):
    return validate(a_config(folder, authorities=text.format(", ".join(settings))))


def test_the_secret_of_an_account_is_there_and_nobody_elses(tmp_path):
    file, setting = tmp_path / "password", 'password-file: "%CONFIGDIR%/password"'
    missing = with_authority(tmp_path, ADCS, setting)
    assert missing.exit_code == 1
    assert "authorities[0].configuration.password-file" in missing.output
    assert "No such file" in missing.output
    file.touch(mode=0o644)
    file.chmod(0o644)
    shared = with_authority(tmp_path, ADCS, setting)
    assert shared.exit_code == 1
    assert "mode 0644" in shared.output
    file.chmod(0o600)
    assert with_authority(tmp_path, ADCS, setting).exit_code == 0


def test_a_cas_certificates_are_some(tmp_path):
    password = tmp_path / "password"
    password.touch(mode=0o600)
    settings = ('password-file: "%CONFIGDIR%/password"', 'ca-certificates: "%CONFIGDIR%/ca.pem"')
    assert "ca.pem cannot be read" in with_authority(tmp_path, ADCS, *settings).output
    (tmp_path / "ca.pem").write_text("rubbish")
    assert "holds no certificates in PEM" in with_authority(tmp_path, ADCS, *settings).output
    make_server_certificate(tmp_path)
    (tmp_path / "ca.pem").write_bytes((tmp_path / "tls.pem").read_bytes())
    assert with_authority(tmp_path, ADCS, *settings).exit_code == 0


def test_the_programs_of_windows_are_there(tmp_path):
    programs = [tmp_path / "certreq.exe", tmp_path / "certutil.exe"]
    settings = [f'{p.stem}-path: "%CONFIGDIR%/{p.name}"' for p in programs]
    missing = with_authority(tmp_path, CLI, *settings)
    assert missing.exit_code == 1
    assert missing.output.count("type adcs-cli is for Windows") == 2
    for program in programs:
        program.touch(mode=0o700)
    assert with_authority(tmp_path, CLI, *settings).exit_code == 0
