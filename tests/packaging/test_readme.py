"""The README's commands, typed as they stand, from a checkout to a certificate in certbot's hands.

Ports alone are others, for several may run at a time; cloning and installing are done already.
"""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from tests.make.acme_server import free_port
from tests.packaging.test_demo import SECONDS, certeasy, running, stopped

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CERTIFICATE = ROOT / "docs/first-certificate.md"
SECTION = "## A server of your own"
FIXED = ("14443", "9443", "14080")
NAME = "web.lab.test"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the lines are for a shell")


def commands(page: str) -> list[str]:
    """Return the commands of the section, each in one line."""
    section = page.partition(SECTION)[2].partition("\n## ")[0]
    lines = re.findall(r"^    (.*)$", section, re.MULTILINE)
    return "\n".join(lines).replace("\\\n", " ").splitlines()


@pytest.fixture
def here(tmp_path: Path) -> Callable[[str], str]:
    """A folder that looks like the checkout, and what makes a command run there on free ports."""
    ports = {port: str(free_port()) for port in FIXED}

    def elsewhere(text: str) -> str:
        return re.sub("|".join(FIXED), lambda found: ports[found[0]], text)

    script = Path("docs/examples/init-lab.yml")
    (tmp_path / script.parent).mkdir(parents=True)
    (tmp_path / script).write_text(elsewhere((ROOT / script).read_text()))
    return elsewhere


def shell(line: str, folder: Path) -> str:
    """Run a line as in a checkout whose .venv is this environment."""
    line = line.replace(".venv/bin/", f"{shlex.quote(str(BIN))}/")
    known = f"cd {shlex.quote(str(folder))} && PATH={shlex.quote(str(BIN))}:$PATH; {line}"
    done = subprocess.run(
        ["sh", "-c", known], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def test_five_commands_lead_from_nothing_to_a_certificate(tmp_path: Path, here: Callable[..., str]):
    clone, install, init, serve, certbot = commands((ROOT / "README.md").read_text())
    assert (clone.split()[:2], install) == (["git", "clone"], "make install")
    printed = shell(here(init), tmp_path)
    anchor = str(re.search(r"^trust anchor +(\S+):", printed, re.MULTILINE)[1])
    words = serve.split()
    assert words[:2] == [".venv/bin/certeasy", "serve"]
    config = tmp_path / words[-1]
    with running("serve", "-f", config, until="serves https://") as (process, _):
        shell(here(certbot), tmp_path)
        page = CERTIFICATE.read_text()
        looks = re.findall(r"^    (\.venv/bin/certeasy .*)$", page, re.MULTILINE)
        listed, told, proof, seen = (shell(line, tmp_path) for line in looks)
        assert (NAME in listed, "ordered a certificate" in told) == (True, True)
        assert ("every row is the line that was signed" in proof, "warn" in seen) == (True, True)
        stopped(process, signal.SIGTERM)
    live = tmp_path / "lab/certbot/live/web.lab.test"
    leaf, *_, last = x509.load_pem_x509_certificates((live / "fullchain.pem").read_bytes())
    root = x509.load_pem_x509_certificate((tmp_path / "lab/workdir/lab.root.pem").read_bytes())
    last.verify_directly_issued_by(root)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["web.lab.test"]
    proof = certeasy("audit", "verify", "-f", config, "--anchor", anchor)
    assert proof.returncode == 0, proof
    again = shell(here(init) + " --force", tmp_path)
    assert f"trust anchor    {anchor}, of the installation that is in the database" in again


def test_whatever_stands_for_something_else_is_explained_before_it_is_typed():
    section = (ROOT / "README.md").read_text().partition("[start:five]")[2].partition("[end:")[0]
    told, clone, _ = section.partition("    git clone ")
    assert clone
    for word in re.findall(r"(?<!\S)[A-Z]{3,}(?!\S|=)", "\n".join(commands(SECTION + section))):
        assert f"{word} stands for " in told, word
    assert "five" in re.findall(r'--8<-- "README.md:(\w+)"', CERTIFICATE.read_text())


def test_make_has_the_command_that_the_readme_has():
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\ninstall: ")[2].partition("\n\n")[0]
    assert "tools.environment runtime" in recipe
