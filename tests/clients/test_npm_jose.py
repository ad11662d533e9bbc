"""npm `jose`, a JOSE library by others, verifies our lines in another language."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from events.envelope import ZERO_HASH, Actor, Envelope, encode, seal_line
from events.signing import SigningKey
from tests.make.acme_client import run
from tests.make.acme_library import connect, obtain, register
from tests.make.certeasy_server import CERTEASY, certeasy
from tests.make.npm_packages import run_script

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]  # the first run installs from npm

VERIFIER = Path(__file__).with_name("verify_journal.mjs")
LINES = 5


@pytest.fixture
def journal(tmp_path: Path) -> list[bytes]:
    """The lines of a journal; the node's public key is in keys.json beside it."""
    key = SigningKey.from_seed(bytes(range(32)))
    keys = msgspec.json.encode({"keys": [key.public.jwk()]})
    (tmp_path / "keys.json").write_bytes(keys)
    lines: list[bytes] = []
    prev = ZERO_HASH
    for seq in range(1, LINES + 1):
        record = seal_line(an_envelope(seq, prev), key)
        prev = record.hash
        lines.append(record.line)
    return lines


def an_envelope(seq: int, prev: str) -> Envelope:
    return Envelope(
        v=1,
        position=seq,
        server_id="6f3c1f4e-5d0a-4c2b-9a51-2f6d2a9b7c10",
        seq=seq,
        prev=prev,
        head=prev,
        at=f"2026-01-01T00:00:00.{seq:06}Z",
        stream="node/6f3c1f4e",
        version=seq,
        type="node.started",
        schema=1,
        actor=encode(Actor(kind="system")),
        # Hard on whoever encodes again what was signed: order, escapes, numbers, scripts.
        data=encode(
            {"z": "\u2028 \u00e9 \U0001f512 </script>", "a": 1.0, "m": 2**53, "jws": '","jws":"'}
        ),
    )


def verify(lines: list[bytes], folder: Path) -> str:
    path = folder / "audit.log"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return run_script(VERIFIER, path, folder / "keys.json", cwd=folder)


def test_every_line_is_verified(journal: list[bytes], tmp_path: Path):
    assert verify(journal, tmp_path) == f"{LINES} lines verified\n"


def changed_byte(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"script", b"Script"), *lines[3:]]


def other_last_character_of_the_signature(lines: list[bytes]) -> list[bytes]:
    # 86 characters carry 516 bits for 512: the last one could be spelled in 16 ways.
    line = lines[2]
    spelled = line[:-3] + {b"A": b"B", b"Q": b"R", b"g": b"h", b"w": b"x"}[line[-3:-2]] + line[-2:]
    return [*lines[:2], spelled, *lines[3:]]


@pytest.mark.parametrize(
    "tamper",
    [
        changed_byte,
        other_last_character_of_the_signature,
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:2], lines[3], lines[2], lines[4]],
        lambda lines: lines[:3] + lines[2:],
    ],
    ids=["changed", "spelled otherwise", "removed", "swapped", "duplicated"],
)
def test_a_break_is_named(
    journal: list[bytes], tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]]
):
    with pytest.raises(AssertionError, match=r"audit\.log:[34]: "):
        verify(tamper(journal), tmp_path)


def test_the_journal_of_a_server_at_work_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with certeasy(tmp_path) as server:
        acme = connect(server, monkeypatch)
        register(acme)
        obtain(acme, server, server.name("jose"))
    keys = run([CERTEASY, "audit", "keys", "-f", "config.yml"], cwd=tmp_path)
    (tmp_path / "keys.json").write_text(keys)
    journal = tmp_path / "work/audit.log"
    lines = journal.read_bytes().splitlines()
    said = run_script(VERIFIER, journal, tmp_path / "keys.json", cwd=tmp_path)
    assert said == f"{len(lines)} lines verified\n"
