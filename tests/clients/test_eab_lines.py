"""What `certeasy eab create` prints for clients is typed as it stands, and works."""

import shlex
import sys
from pathlib import Path

from tests.make.acme_client import run
from tests.make.certeasy_server import CERTEASY, certeasy

CERTBOT = Path(sys.executable).with_name("certbot")


def lines_for(client: str, told: str) -> str:
    """Return what stands under a client's name, as one command."""
    paragraph = next(each for each in told.split("\n\n") if each.startswith(f"{client}\n"))
    return paragraph.removeprefix(f"{client}\n").replace("\\\n", " ")


def test_pitfall_16_certbot_registers_with_the_line_that_is_printed_for_it(tmp_path: Path):
    """Pitfall 16: nothing has to be converted, padded or quoted."""
    with certeasy(tmp_path) as server:
        config = tmp_path / "config.yml"
        told = run([CERTEASY, "eab", "create", "-f", config, "--max-uses", "1"], cwd=tmp_path)
        words = shlex.split(lines_for("certbot", told))
        assert words[0] == "certbot"
        answers = ["--non-interactive", "--agree-tos", "--email", "admin@corp.example"]
        own = ["--config-dir", "etc", "--work-dir", "lib", "--logs-dir", "log", "--no-eff-email"]
        command = [CERTBOT, *words[1:], *answers, *own]
        said = run(command, cwd=tmp_path, REQUESTS_CA_BUNDLE=server.root_pem)
        assert "Account registered" in said
        assert "  used-up  1 of 1 accounts" in run(
            [CERTEASY, "eab", "list", "-f", config], cwd=tmp_path
        )
