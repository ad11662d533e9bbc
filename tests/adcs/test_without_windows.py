"""docs/adcs.md, "Trying it without Windows": the configuration there is in order, and looks at a
simulated CA that it can use."""

import os
from pathlib import Path

from click.testing import CliRunner

from certeasy.cli import group
from tests.make.adcs import LabCa, a_ca

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/adcs-simulated.yml"


def laid_out(folder: Path, ca: LabCa) -> Path:
    """Lay the example out as the page says, with the port of this CA."""
    (folder / "work").mkdir()
    password = folder / "svc-acme.password"
    password.write_text("Secret.123\n")
    os.chmod(password, 0o600)  # noqa: PTH101 - as in the page's umask
    text = EXAMPLE.read_text().replace(" 1135\n", f" {ca.mapper_port}\n")
    config = folder / "config.yml"
    config.write_text(text)
    return config


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(group, list(map(str, words)))
    return result.exit_code, result.output


def test_the_check_of_the_example_finds_nothing_that_failed(tmp_path: Path) -> None:
    with a_ca() as ca:
        config = laid_out(tmp_path, ca)
        assert run("validate", "-f", config)[0] == 0
        code, told = run("adcs", "check", "-f", config)
        assert (code, "the CA offers WebServer" in told) == (0, True)
        code, told = run("adcs", "check", "-f", config, "--template", "Nope")
        assert (code, "the CA does not offer Nope, but " in told) == (1, True)
