"""How fast `certeasy journal restore` is, and in how much memory: as JSON.

    python -m tools.restorebench --events 1000000 --folder /tmp/journals

Two nodes' journals, made as `tools.auditbench` makes them (those that the folder has are used
again), are put into a SQLite database that is not there yet, by the command as it is typed, in a
process of its own: everything is verified, compared, folded and committed. Memory is VmHWM.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec

from tools.auditbench import journals, run

CONFIG = """\
workdir: "%CONFIGDIR%/work"
server: {url: [https://acme.bench.test], tls: false}
dns-validation-profiles: [{name: d, resolved-ip-policy: {allow-cidrs: [10.0.0.0/8]}}]
authorities: [{name: ca, type: embedded}]
issuance-policies: [{name: p, dns: {allow: [.bench.test/2]}}]
"""


def restore(paths: list[Path], events: int, folder: Path) -> dict[str, object]:
    """Restore into a new database below a folder; return what it took."""
    config = folder / "config.yml"
    config.write_text(CONFIG, "utf-8")
    given = [word for path in paths for word in ("--journal", str(path))]
    measured = run(["journal", "restore", "-f", str(config), *given], events)
    database = folder / "work" / "db.sqlite"
    return measured | {"database_mib": round(database.stat().st_size / (1 << 20))}


@click.command()
@click.option("--events", multiple=True, type=click.IntRange(1000), default=(100_000, 1_000_000))
@click.option("--folder", type=click.Path(path_type=Path), help="Where journals are kept.")
def main(events: tuple[int, ...], folder: Path | None) -> None:
    """Measure restores of logs of these sizes, and print JSON."""
    result = {}
    with TemporaryDirectory(prefix="certeasy-restorebench-") as temporary:
        for count in events:
            paths = journals(folder or Path(temporary), count)
            with TemporaryDirectory(prefix="certeasy-restorebench-", dir=temporary) as out:
                result[str(count)] = restore(paths, count, Path(out))
    click.echo(msgspec.json.format(msgspec.json.encode(result), indent=2))


if __name__ == "__main__":
    main()
