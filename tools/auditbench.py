"""How fast an auditor's checks are, and in how much memory: as JSON.

    python -m tools.auditbench --events 100000 --events 1000000 --folder /tmp/journals

Signatures are what verification has to cost; so its speed is given as a share of the bare rate at
which Ed25519 signatures over the same lines are verified on as many cores, measured in turn with it
(`ratio`: the median of the rounds, by the clock; `cpu_ratio`: by processor time, which others who
use the machine disturb less). Replays run in processes of their own; their memory is VmHWM.

Journals are written by two nodes in turn, from the decisions that the server would take, signed
here without a server; those that the folder has are used again.
"""

import os
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from certeasy.clock import SystemClock
from certeasy.commit import Command
from certeasy.ids import RandomIds
from events.envelope import (
    VERSION,
    ZERO_HASH,
    Actor,
    Envelope,
    Record,
    encode,
    parse,
    seal_line,
    timestamp,
)
from events.nodes import InstallationCreated, NodeEndorsed, NodeRegistered
from events.registry import Event, name_of
from events.signing import PublicKey, SigningKey, from_base64url
from journal.breaks import Line
from journal.lines import read_journal
from journal.verify import verify
from projections.fold import apply
from projections.tables import Key, Table, WorkingRows
from tools.history import EVENTS_PER_ORDER, Historian

SAMPLE = 20_000  # lines that are verified in a round
INSTALLATION = "1a57a11a-0000-4000-8000-000000000001"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=20)
SYSTEM = Actor("system", "bench")
# Runs a command as it is typed, and tells the most memory that it had.
CHILD = """
import sys
from certeasy.cli import main
try:
    main(sys.argv[1:])
finally:
    print(open("/proc/self/status").read(), file=sys.stderr)
"""


class Node:
    """A node that writes a journal."""

    def __init__(self, number: int, file: BinaryIO) -> None:
        self.server_id = f"{number:08x}-0000-4000-8000-{number:012x}"
        self.key = SigningKey.from_seed(bytes([number]) * 32)
        self.file = file
        self.seq = 0
        self.prev = ZERO_HASH


class Scribe:
    """Takes decisions as a committer does, and signs lines; only what is needed is remembered."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._rows = WorkingRows(_nothing)
        self._head = ZERO_HASH
        self._versions: dict[str, int] = {}
        self.position = 0

    def install(self) -> None:
        """Write what begins a log: the installation, and the nodes, each endorsed."""
        first = self._nodes[0]
        created = InstallationCreated(INSTALLATION, first.key.public.kid, "active-active")
        self._say("installation", created, SYSTEM, first)
        for node in self._nodes:
            stream, key = f"node/{node.server_id}", node.key.public
            self._say(
                stream,
                NodeRegistered(INSTALLATION, node.server_id, "bench", key.kid, key.x),
                SYSTEM,
                node,
            )
            if node is not first:
                self._say(stream, NodeEndorsed(node.server_id, key.kid), SYSTEM, first)

    def submit(self, command: Command) -> object:
        """Decide, and write what was decided; each order's events by one of the nodes."""
        now = BEGIN + STEP * self.position
        decision = command.decide(self._rows, now)
        if decision.facts[0][0].startswith("account/"):
            self._rows.forget()  # orders of the account before are done with
            self._versions.clear()
        for stream, fact in decision.facts:
            self._say(stream, fact, command.actor, self._nodes[self.position % len(self._nodes)])
        return None

    def _say(self, stream: str, fact: Event, actor: Actor, node: Node) -> None:
        kind, schema = name_of(fact)
        self.position += 1
        self._versions[stream] = self._versions.get(stream, 0) + 1
        envelope = Envelope(
            v=VERSION,
            position=self.position,
            server_id=node.server_id,
            seq=node.seq + 1,
            prev=node.prev,
            head=self._head,
            at=timestamp(BEGIN + STEP * self.position),
            stream=stream,
            version=self._versions[stream],
            type=kind,
            schema=schema,
            actor=encode(actor),
            data=encode(fact),
        )
        record = seal_line(envelope, node.key)
        node.seq, node.prev, self._head = node.seq + 1, record.hash, record.hash
        node.file.write(record.line + b"\n")
        apply(fact, envelope, self._rows)


def _nothing(_table: Table[Any], _key: Key, /) -> None:
    return None


def journals(folder: Path, events: int) -> list[Path]:
    """Return two nodes' journals of so many events together, written now or earlier."""
    paths = [folder / f"{events}.node{number}.log" for number in (1, 2)]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    partial = [path.with_suffix(".partial") for path in paths]
    with partial[0].open("wb") as one, partial[1].open("wb") as two:
        scribe = Scribe([Node(1, one), Node(2, two)])
        scribe.install()
        orders = -(-events // EVENTS_PER_ORDER)
        with click.progressbar(length=orders, label=f"{events} events", file=sys.stderr) as bar:
            Historian(scribe, RandomIds(SystemClock())).write_some(orders, bar.update)
    for path, written in zip(paths, partial, strict=True):
        written.rename(path)
    return paths


# -- speed ---------------------------------------------------------------------------------------

Signed = tuple[bytes, bytes]  # signature, message


def bare(work: tuple[str, list[Signed]]) -> tuple[float, float]:
    """Verify signatures and do nothing else; return the seconds it took, and those of CPU."""
    x, signed = work
    verify_one = Ed25519PublicKey.from_public_bytes(from_base64url(x)).verify
    cpu, begun = time.process_time(), time.perf_counter()
    for signature, message in signed:
        verify_one(signature, message)
    return time.perf_counter() - begun, time.process_time() - cpu


def sample(path: Path) -> tuple[PublicKey, list[Line], list[Signed]]:
    """Return a journal's first lines, and what is signed in them."""
    lines = list(islice(read_journal([path]), SAMPLE))
    records = [parse(line.data) for line in lines]
    key = next(PublicKey(fact.x) for r in records if isinstance(fact := r.event, NodeRegistered))
    return key, lines, [_signed(key, record) for record in records]


def _signed(key: PublicKey, record: Record) -> Signed:
    signature = urlsafe_b64decode(record.line[-88:-2] + b"==")
    return signature, key.header + b"." + record.payload


def speed(path: Path, rounds: int, cores: int) -> dict[str, object]:
    """Measure verification and bare signature checks in turn."""
    key, lines, signed = sample(path)
    measured = []
    with get_context("spawn").Pool(cores) as pool:
        work = [(key.x, signed[core::cores]) for core in range(cores)]
        pool.map(bare, work)  # so that every process is there
        for _ in range(rounds):
            spent = pool.map(bare, work, chunksize=1)
            wall, cpu = max(w for w, _ in spent), sum(c for _, c in spent)
            mine, my_cpu = _verified(lines, cores)
            measured.append((len(lines) / wall, cpu, len(lines) / mine, my_cpu))
    return {
        "lines": len(lines),
        "bytes_per_line": round(sum(len(line.data) for line in lines) / len(lines)),
        "cores": cores,
        "rounds": rounds,
        "bare_per_second_and_core": round(median(m[0] for m in measured) / cores),
        "verify_lines_per_second": round(median(m[2] for m in measured)),
        "ratio": round(median(m[2] / m[0] for m in measured), 3),
        "ratios": [round(m[2] / m[0], 3) for m in measured],
        "cpu_us_per_line": round(median(m[3] for m in measured) / len(lines) * 1e6, 1),
        "bare_cpu_us": round(median(m[1] for m in measured) / len(lines) * 1e6, 1),
        "cpu_ratio": round(median(m[1] / m[3] for m in measured), 3),
    }


def _verified(lines: list[Line], cores: int) -> tuple[float, float]:
    cpu, begun = time.process_time(), time.perf_counter()
    verify([lines], partial=True, threads=cores)
    return time.perf_counter() - begun, time.process_time() - cpu


# -- memory --------------------------------------------------------------------------------------


def commands(paths: list[Path], folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands whose speed and memory are told."""
    given = [word for path in paths for word in ("--journal", str(path))]
    yield "verify", ["audit", "verify", *given]
    yield "replay", ["audit", "replay", *given, "--out", str(folder / "state.sqlite")]


def run(arguments: list[str], events: int) -> dict[str, object]:
    """Run a command in a process of its own."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", CHILD, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    wall = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stderr)
    peak = re.search(r"VmHWM:\s*(\d+) kB", done.stderr)
    return {
        "seconds": round(wall, 1),
        "events_per_second": round(events / wall),
        "peak_memory_mib": round(int(peak[1]) / 1024, 1) if peak else None,
    }


@click.command()
@click.option("--events", multiple=True, type=click.IntRange(1000), default=(100_000, 1_000_000))
@click.option("--folder", type=click.Path(path_type=Path), help="Where journals are kept.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--cores", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def main(events: tuple[int, ...], folder: Path | None, rounds: int, cores: int) -> None:
    """Measure verification and replay, and print JSON."""
    with TemporaryDirectory(prefix="certeasy-auditbench-") as temporary:
        made = {count: journals(folder or Path(temporary), count) for count in events}
        result: dict[str, object] = {"verify": speed(made[events[0]][0], rounds, cores)}
        for count, paths in made.items():
            with TemporaryDirectory(prefix="certeasy-auditbench-") as out:
                result[str(count)] = {
                    name: run(arguments, count) for name, arguments in commands(paths, Path(out))
                }
    click.echo(msgspec.json.format(msgspec.json.encode(result), indent=2))


if __name__ == "__main__":
    main()
