"""An order of a hundred names is proven by many workers at once; each outcome is stored once."""

import subprocess
import sys
from pathlib import Path

import msgspec

from tests.make.manynames import measure


def test_a_hundred_names_are_proven_by_sixteen_workers_with_one_attempt_each(
    tmp_path: Path,
) -> None:
    """Looked at once, handed over once, decided once more under the lock at most."""
    told = measure(tmp_path, names=100, workers=16, clients=16)
    assert told.looks == 1.0
    assert told.submitted == 1.0
    assert 1.0 <= told.attempts <= 2.0
    assert told.commits <= 1.0
    assert told.events == {
        "order.created": 1,
        "challenge.accepted": 100,
        "challenge.validated": 100,
        "order.ready": 1,
        "order.finalized": 1,
        "issuance.submitted": 1,
        "certificate.issued": 1,
    }


def test_the_tool_prints_what_it_measured() -> None:
    command = [sys.executable, "-m", "tools.manynames", "--names", "3", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=50)
    told = msgspec.json.decode(done.stdout)
    assert (told["names"], told["workers"], told["looks"]) == (3, 2, 1.0)
