"""The server is killed, and lines are cut, at every step of a submission to a CA of its own
records."""

import random
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("signals are POSIX's", allow_module_level=True)

from tools.crashlab import doubts


@pytest.mark.timeout(600)  # alone it needs a sixth of it; whoever shares the machine counts too
def test_no_order_is_lost_and_every_certificate_is_accounted_for(tmp_path: Path) -> None:
    # pytest-randomly seeds `random` with what it prints: a failure can be repeated.
    seed = f"{random.getrandbits(32):08x}"
    said: list[str] = []
    outcome = doubts.run(tmp_path / "lab", rounds=5, clients=4, seed=seed, tell=said.append)
    print(outcome)  # noqa: T201 - for who runs it with -s
    assert not outcome.broken, "\n".join([f"seed {seed}", str(outcome), *said])
    assert outcome.rounds == 5
    assert outcome.certificates > 5, outcome
    assert outcome.given <= outcome.issued_by_the_ca, outcome
    assert outcome.lost == outcome.mismatched + outcome.given_up, outcome
