"""The benchmark's figures are of certificates that were issued."""

import msgspec
from click.testing import CliRunner

from tools.adcsbench import main


def test_enrolments_are_measured_over_fresh_and_kept_connections():
    result = CliRunner().invoke(main, ["--count", "4", "--fresh", "2", "--threads", "2"])
    measured = msgspec.json.decode(result.stdout)["NTLM tcp"]
    assert set(measured) == {"fresh", "kept", "2 threads"}
    assert all(each["cpu_ms"] > 0 and each["per_second"] > 0 for each in measured.values())


def test_whoever_names_a_ca_says_who_he_is():
    result = CliRunner().invoke(main, ["--host", "ca1.lab.test"])
    assert result.exit_code == 2
    assert "a keytab or a password-file is wanted" in result.stderr
