"""Run one target until the time is over, guided by the coverage of our own code where atheris is.

    python -m tests.fuzz.drive TARGET SECONDS SEED FOLDER

Prints `executions N` at the end, and ends with 0; a finding is an exception with its traceback, the
input in FOLDER, and another exit status. `tools.fuzz` runs it for all targets and sums up.
"""

import contextlib
import importlib.util
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LONGEST = 4096
INSTRUMENTED = ["certeasy", "events", "asn1crypto", "jwcrypto", "tests.fuzz"]


def guided() -> bool:
    """Tell whether atheris is installed here."""
    return importlib.util.find_spec("atheris") is not None


def main() -> None:
    """Run the target that is named on the command line."""
    target, seconds, seed, folder = sys.argv[1:5]
    run = _guided if guided() else _blind
    run(target, int(seconds), int(seed), Path(folder))


def _guided(name: str, seconds: int, seed: int, folder: Path) -> None:
    import atheris  # noqa: PLC0415 - not everywhere

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz import targets  # noqa: PLC0415 - instrumented as it is imported

        target = targets.prepare(name)
    corpus = targets.corpus(folder, name)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={LONGEST}",
        f"-timeout={targets.SLOWEST}",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/{name}-",
    ]

    def one(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _blind(name: str, seconds: int, seed: int, folder: Path) -> None:
    """Change the seeds at random: what there is to do where no wheel of atheris fits."""
    from tests.fuzz import targets  # noqa: PLC0415 - as above

    target = targets.TARGETS[name]
    executions = 0
    ends = time.monotonic() + seconds
    for data in changed(targets.seeds(name), random.Random(seed)):  # noqa: S311 - no secrets
        if time.monotonic() >= ends:
            break
        with _kept(data, folder / f"{name}-finding"):
            target(data)
        executions += 1
    print(f"stat::number_of_executed_units: {executions}", file=sys.stderr)  # noqa: T201 - a program


@contextlib.contextmanager
def _kept(data: bytes, place: Path) -> Iterator[None]:
    """Write down what raises."""
    try:
        yield
    except BaseException:
        place.write_bytes(data)
        raise


def changed(seeds: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield the seeds, then changes of them without end."""
    yield from seeds
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            at, size = chance.randint(0, len(data)), chance.randint(0, 8)
            piece = chance.choice(
                [b"", chance.randbytes(size), bytes(data[at : at + size]) * 2, bytes(size)]
            )
            data[at : at + chance.randint(0, size)] = piece
        yield bytes(data[:LONGEST])


if __name__ == "__main__":
    main()
