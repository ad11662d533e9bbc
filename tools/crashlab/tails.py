"""What a crash or a thief does to the end of a journal while the server is down.

Faults are functions as `faults` describes them.
"""

import random
from pathlib import Path

from certeasy.commit.batch import LINES
from tools.crashlab.lab import Lab, lab
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

FEW_LINES = 200


def torn(folder: Path, clients: int, seed: str) -> str:
    """The journal's end cut, zeroed, or followed by rubbish while the server is down."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    with lab(Server(folder), clients, seed) as at:
        for damage in DAMAGES:
            at.issue(8)
            at.server.kill()
            whole = at.look().database
            damage(at.server.journal, chance)
            at.restart()
            _check_refilled(at, whole, damage.__name__)
        at.settle()
    return f"{len(DAMAGES)} damages, each refilled byte for byte"


def thief(folder: Path, clients: int, seed: str) -> str:
    """More of the journal gone than a crash can lose: refused, until somebody says why."""
    with lab(Server(folder), clients, seed) as at:
        at.issue(LINES // 6)
        at.server.kill()
        whole = at.look().database
        path = at.server.journal
        path.write_bytes(b"".join(line + b"\n" for line in whole[: -LINES - 50]))
        words = at.server.refused()
        if "refill" not in words:
            raise NotHeld(f"the refusal names no remedy: {words}")
        at.server.check_command("journal", "refill", "--reason", "crash lab")
        at.restart()
        _check_refilled(at, whole, "refill")
        at.issue(5)
        at.settle()
    return f"refused ({words}), refilled, went on"


def _check_refilled(at: Lab, whole: list[bytes], damage: str) -> None:
    lines = at.server.journal.read_bytes().splitlines()
    for number, line in enumerate(whole):
        if number >= len(lines) or lines[number] != line:
            raise NotHeld(f"after {damage} line {number + 1} of the journal was not written again")


def _cut_bytes(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - chance.randrange(1, 1500))


def _zero_bytes(path: Path, chance: random.Random) -> None:
    size, count = path.stat().st_size, chance.randrange(1, 1500)
    with path.open("r+b") as file:
        file.seek(size - count)
        file.write(bytes(count))


def _cut_lines(path: Path, chance: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: -chance.randrange(1, min(FEW_LINES, len(lines) // 2))]))


def _zero_lines(path: Path, chance: random.Random) -> None:
    """Zero some of the last lines where they are: a hole that a crash has left."""
    lines = path.read_bytes().splitlines(keepends=True)
    first = len(lines) - chance.randrange(2, 20)
    lines[first] = bytes(len(lines[first]))
    path.write_bytes(b"".join(lines))


def _add_rubbish(path: Path, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.randrange(1, 5000)))


def _add_half(path: Path, chance: random.Random) -> None:
    last = path.read_bytes().splitlines()[-1]
    with path.open("ab") as file:
        file.write(last[: chance.randrange(1, len(last))])


DAMAGES = (_cut_bytes, _zero_bytes, _cut_lines, _zero_lines, _add_rubbish, _add_half)
