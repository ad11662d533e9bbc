"""What an auditor may be given, and the commands as an auditor types them."""

from pathlib import Path

from click.testing import CliRunner, Result

from certeasy.cli import group
from certeasy.cli.audit import audit
from tests.make.databases import a_database
from tests.make.journals import ALog

CONFIG = """\
workdir: {work}
server:
  url: ["https://acme.corp.internal:8443"]
  tls: false
dns-validation-profiles:
  - name: lab
    zones: [{{system: true}}]
    resolved-ip-policy: {{allow-cidrs: ["10.0.0.0/8"]}}
authorities:
  - {{name: lab-ca, type: embedded}}
issuance-policies:
  - {{name: lab, dns-validation-profile: lab, dns: {{allow: [".corp.internal/3"]}}}}
policy-bindings:
  - {{policy: lab, authorities: [lab-ca]}}
"""


def laid_out(log: ALog, folder: Path) -> Path:
    """Write two journals, `keys.json`, and in `work` the first node with its database."""
    log.write(folder)
    work = folder / "work"
    work.mkdir()
    (work / "audit.log").write_bytes(log.nodes[0].journal)
    a_database(log, work / "db.sqlite")
    (folder / "config.yml").write_text(CONFIG.format(work=work))
    return folder


def both(folder: Path) -> list[object]:
    """The journals of both nodes, one as its folder, one as its file."""
    return ["--journal", folder / "node1", "--journal", folder / "node2" / "audit.log"]


def run(*arguments: object) -> Result:
    """Run a command of `certeasy audit`; it ends without a traceback."""
    return _without_a_traceback(CliRunner().invoke(audit, [str(each) for each in arguments]))


def certeasy(*arguments: object) -> Result:
    """Run any command; it ends without a traceback."""
    return _without_a_traceback(CliRunner().invoke(group, [str(each) for each in arguments]))


def _without_a_traceback(result: Result) -> Result:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result
