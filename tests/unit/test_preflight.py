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


def told(result):
    assert result.exit_code == 1, result.output
    return [line.split(": ")[1] for line in result.stderr.splitlines()]


def test_what_is_wrong_in_the_file_and_on_the_disk_is_told_at_once(tmp_path):
    config = a_config(
        tmp_path,
        server="{url: [https://acme.corp.test], threads: 0}",
        tls_certificate_manager=BUNDLE.format(certificate="no.pem", key="no.key"),
        audit='{path: "%CONFIGDIR%/nowhere/audit.log", min-free-bytes: 1}',
        authorities=ADCS.format('password-file: "%CONFIGDIR%/password"'),
        issuance_policies="[{name: p, dns: {allow: [corp.test]}}]",
        default_profile="web",
    )
    result = validate(config)
    keys = told(result)
    assert sorted(keys) == [
        "audit.min-free-bytes",
        "audit.path",
        "authorities[0].configuration.password-file",
        "default-profile",
        "issuance-policies[0].dns.allow[0]",
        "server.threads",
        "tls-certificate-manager.bundles[0].certificate",
        "tls-certificate-manager.bundles[0].key",
    ]
    rows = config.read_text().splitlines()
    for line, key in zip(result.stderr.splitlines(), keys, strict=True):
        number = int(line.split(":")[1])
        assert any(part.partition("[")[0] in rows[number - 1] for part in key.split("."))


def test_an_entry_that_could_not_be_read_does_not_shift_the_others(tmp_path):
    wrong = "{name: no, type: none}, "
    text = ADCS.replace(
        "[{{name: ca", "[" + wrong.replace("{", "{{").replace("}", "}}") + "{{name: ca"
    )
    authorities = text.format('password-file: "%CONFIGDIR%/password"')
    assert "authorities[0].configuration.password-file" not in told(
        validate(a_config(tmp_path, authorities=authorities))
    )


def test_a_file_that_is_no_yaml_is_told_alone(tmp_path):
    config = a_config(tmp_path, audit='{path: "%CONFIGDIR%/nowhere/audit.log"')
    result = validate(config)
    assert len(result.stderr.splitlines()) == 1
    assert "config.yml:" in result.stderr


def test_serve_tells_the_same_as_validate(tmp_path):
    config = a_config(tmp_path, audit='{path: "%CONFIGDIR%/nowhere/a", min-free-bytes: 1}', x="1")
    served = CliRunner().invoke(group, ["serve", "-f", str(config)])
    assert served.exit_code == 1
    assert served.stderr == validate(config).stderr
    assert len(served.stderr.splitlines()) == 3


def test_the_password_of_a_database_can_be_read(tmp_path):
    database = '{driver: postgres, dsn: "postgresql://u@h/d", password-file: "%CONFIGDIR%/no"}'
    assert told(validate(a_config(tmp_path, database=database))) == ["database.password-file"]


NOTICES = """{{webhook: {{url: 'https://hooks.corp.test/', secret-file: "%CONFIGDIR%/{}"}},
    smtp: {{host: mail.corp.test, from: c@corp.test, to: [p@corp.test], user: c,
    password-file: "%CONFIGDIR%/secret", ca-file: "%CONFIGDIR%/{}"}}}}"""


def test_what_notices_need_on_the_disk_is_looked_at(tmp_path):
    make_server_certificate(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("geheim")
    secret.chmod(0o600)
    result = validate(a_config(tmp_path, notices=NOTICES.format("secret", "root.pem")))
    assert result.exit_code == 0, result.output
    secret.chmod(0o640)
    result = validate(a_config(tmp_path, notices=NOTICES.format("nothing", "secret")))
    told = result.output.splitlines()
    assert result.exit_code == 1
    assert any("notices.webhook.secret-file: secret-file" in line for line in told)
    assert any("notices.smtp.password-file" in line and "mode 0640" in line for line in told)
    assert any("notices.smtp.ca-file" in line and "no certificates in PEM" in line for line in told)
    assert "geheim" not in result.output
