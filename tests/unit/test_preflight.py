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
