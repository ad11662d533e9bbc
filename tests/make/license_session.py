"""The session of docs/license.md: what is typed there is run, at the time of its prompt.

    python -m tests.make.license_session      # prints what the page's blocks are to have

A prompt is `[2026-11-02 09:00] $ certeasy ...`; what follows up to the next one is what that
prints. A code other than 0 stands in a line of its own.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certeasy import config
from certeasy.app import Application
from certeasy.cli import group
from certeasy.clock import SystemClock
from certeasy.ids import RandomIds
from certeasy.licensing import keys
from tests.fakes.clocks import HeldClock
from tests.make.licenses import a_license_file, a_revocation_file, trusting

PAGE = Path(__file__).resolve().parents[2] / "docs/license.md"
FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d)\] \$ certeasy (.*)$", re.MULTILINE)
BEGUN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
LICENSED = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)

_CA = """\
  - name: corp-{n}
    type: adcs
    configuration:
      ca-name: ca{n}.corp.example\\Corp Issuing CA {n}
      certificate-template: AcmeWebServer
      auth: ntlm
      domain: corp.example
      user: svc-acme
      password-file: "%CONFIGDIR%/password"
"""
_CONFIG = """\
workdir: "%CONFIGDIR%/work"
logs:
  level: off
server:
  url:
    - https://acme.corp.example
  listen: 127.0.0.1:0
  tls: false
admin:
  listen: 127.0.0.1:0
dns-validation-profiles:
  - name: internal
    resolved-ip-policy:
      allow-cidrs:
        - 10.0.0.0/8
issuance-policies:
  - name: web
    dns:
      allow:
        - .corp.example/2
policy-bindings:
  - policy: web
    authorities:
      - corp-1
authorities:
"""


class FixedIds(RandomIds):
    """Ids of which those of installations and nodes are the same each time."""

    def __init__(self, clock: HeldClock) -> None:
        super().__init__(clock)
        self._made = 0

    def uuid(self) -> str:
        """Return the next one."""
        self._made += 1
        return f"{self._made:08d}-0000-4000-8000-000000000000"


def blocks(page: str) -> list[str]:
    """Return the parts of the session on a page."""
    return [found[1] for found in FENCE.finditer(page)]


def commands(session: str) -> Iterator[tuple[datetime, str]]:
    """Yield what is typed, and when."""
    for found in PROMPT.finditer(session):
        at = datetime.strptime(found[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        yield at, found[2]


def played(parts: list[str], folder: Path) -> list[str]:
    """Return the parts as they are when they are played, one after the other, in a new folder."""
    clock = HeldClock(BEGUN)
    with trusting(folder), chdir(folder), held(clock):
        _prepare(folder, clock)
        return ["".join(_typed(clock, at, words) for at, words in commands(p)) for p in parts]


def _typed(clock: HeldClock, at: datetime, words: str) -> str:
    clock.set_to(at)
    result = CliRunner().invoke(group, words.split())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    code = f"(exit code {result.exit_code})\n" if result.exit_code else ""
    return f"[{at:%Y-%m-%d %H:%M}] $ certeasy {words}\n{result.output}{code}"


@contextmanager
def held(clock: HeldClock) -> Iterator[None]:
    """Let the commands and servers of this process look at a clock that is held."""
    before = SystemClock.now
    SystemClock.now = lambda _self: clock.now()  # type: ignore[method-assign]
    try:
        yield
    finally:
        SystemClock.now = before  # type: ignore[method-assign]


def _prepare(folder: Path, clock: HeldClock) -> None:
    """Make the configurations, start the server once, and have the vendor's files sent."""
    password = folder / "password"
    password.write_text("a password\n")
    password.chmod(0o600)
    for name, many in (("config.yml", 1), ("two-cas.yml", 2)):
        cas = "".join(_CA.format(n=n) for n in range(1, many + 1))
        (folder / name).write_text(_CONFIG + cas)
    server = Application(config.load(folder / "config.yml"), clock, FixedIds(clock))
    server.open()
    here = server.license.terms.installation
    server.close()
    year = {"plan": "free", "begins": LICENSED, "lasts": timedelta(days=365)}
    good = a_license_file(installation=here, **year)
    files = {
        "certeasy.lic": good,
        "tampered.lic": _tampered(good),
        "other.lic": a_license_file(installation=keys.installation_key("another"), **year),
        "forged.lic": a_license_file(
            Ed25519PrivateKey.from_private_bytes(b"somebody else's, not the vendor."),
            installation=here,
            **year,
        ),
        "revocation.lic": a_revocation_file(1, LICENSED + timedelta(days=380)),
    }
    for name, text in files.items():
        (folder / name).write_text(text)


def _tampered(text: str) -> str:
    """Return a license with another character in its payload."""
    lines = text.split("\n")
    other = "B" if lines[3][20] == "A" else "A"
    lines[3] = f"{lines[3][:20]}{other}{lines[3][21:]}"
    return "\n".join(lines)


def main() -> None:
    """Print the page with the session as it is played now."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        parts = iter(played(blocks(page), Path(folder)))
    sys.stdout.write(FENCE.sub(lambda _found: f"```console\n{next(parts)}```", page))
    sys.stdout.flush()
    os._exit(0)  # the listeners' threads are nobody's any more


if __name__ == "__main__":
    main()
