"""A disk and a database that fail where a test says: before anything happened, or after all of it.

    faults.arm("commit", before(out_of_service))     # COMMIT fails, and nothing was kept
    faults.arm("commit", after(out_of_service))      # COMMIT fails, but it was kept

Steps of the database: look up, begin, lock, insert, rows, advance, move, commit, rollback. Steps of
the disk: open, write, sync, truncate, rename, seal, sync folder, free.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from certeasy.settings import DatabaseSettings
from certeasy.store import DatabaseUnavailable, Store
from journal.disk import OsDisk


class Action:
    """What was about to be done; called, it is done. `data` is what was to be written, if any."""

    def __init__(self, do: Callable[..., Any], data: bytes = b"") -> None:
        self._do = do
        self.data = data

    def __call__(self, *part: bytes) -> Any:
        return self._do(*part)


Fault = Callable[[Action], Any]


class Faults:
    """Which steps fail, and how often. One stands behind the disk and the database of a node."""

    def __init__(self, of_database: Callable[[], Exception] | None = None) -> None:
        """`of_database` is how the database's driver says that it is gone; SQLite's by default."""
        self.database_error = of_database or database_error
        self._armed: dict[str, list[Fault]] = {}
        self.met: list[str] = []
        self.dead = False  # the process was killed: nothing takes effect any more
        self.synced = 0  # how much of the journal's file is on disk for sure

    def arm(self, step: str, fault: Fault, *, times: int = 1) -> None:
        """Let the step go wrong this way, the next so many times."""
        self._armed.setdefault(step, []).extend([fault] * times)

    def disarm(self) -> None:
        """Let everything go well from now on."""
        self._armed.clear()

    def kill(self, step: str, fault: Fault | None = None) -> None:
        """Kill the process at the next step of this name: after it, or as `fault` leaves it."""

        def dying(action: Action) -> Any:
            try:
                return fault(action) if fault else action()
            finally:
                self.dead = True

        self.arm(step, dying)

    def do(self, step: str, action: Action) -> Any:
        if self.dead:
            raise io_error() if step in _DISK else self._gone(step)
        armed = self._armed.get(step)
        if not armed:
            return action()
        self.met.append(step)
        return armed.pop(0)(action)

    def _gone(self, step: str) -> Exception:
        if step == "look up":
            return DatabaseUnavailable("the process was killed")
        return self.database_error()


_DISK = {"open", "write", "sync", "truncate", "rename", "seal", "sync folder", "free"}


def before(error: Callable[[], Exception]) -> Fault:
    """Fail, and nothing was done."""

    def fault(_action: Action) -> None:
        raise error()

    return fault


def after(error: Callable[[], Exception]) -> Fault:
    """Fail, but all of it was done."""

    def fault(action: Action) -> None:
        action()
        raise error()

    return fault


def io_error() -> OSError:
    return OSError(errno.EIO, "input/output error")


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "no space left on device")


def database_error(code: int = sqlite3.SQLITE_IOERR) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"made by a test, code {code}")
    error.sqlite_errorcode = code
    return error


class FaultyDisk(OsDisk):
    """The real disk, which fails when told."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def open(self, path: Path) -> int:
        return int(self.faults.do("open", Action(lambda: super(FaultyDisk, self).open(path))))

    def write(self, descriptor: int, offset: int, data: bytes) -> int:
        def write(part: bytes = data) -> int:
            return super(FaultyDisk, self).write(descriptor, offset, part)

        return int(self.faults.do("write", Action(write, data)))

    def sync(self, descriptor: int) -> None:
        def sync() -> None:
            super(FaultyDisk, self).sync(descriptor)
            self.faults.synced = os.fstat(descriptor).st_size

        self.faults.do("sync", Action(sync))

    def truncate(self, descriptor: int, length: int) -> None:
        self.faults.do(
            "truncate", Action(lambda: super(FaultyDisk, self).truncate(descriptor, length))
        )

    def rename(self, old: Path, new: Path) -> None:
        self.faults.do("rename", Action(lambda: super(FaultyDisk, self).rename(old, new)))

    def seal(self, path: Path) -> None:
        self.faults.do("seal", Action(lambda: super(FaultyDisk, self).seal(path)))

    def sync_folder(self, folder: Path) -> None:
        self.faults.do("sync folder", Action(lambda: super(FaultyDisk, self).sync_folder(folder)))

    def free(self, path: Path) -> int:
        return int(self.faults.do("free", Action(lambda: super(FaultyDisk, self).free(path))))


_STEPS = {
    "BEGIN": "begin",
    "UPDATE log_head SET lease_until=": "lock",
    "INSERT INTO events": "insert",
    "INSERT INTO orders": "rows",
    "UPDATE servers SET seq": "advance",
    "UPDATE log_head SET position": "move",
    "DELETE FROM subject_keys": "keys",
    "INSERT INTO secrets": "secret",
    "DELETE FROM secrets": "secret",
}


class _Cursor:
    def __init__(self, cursor: sqlite3.Cursor, faults: Faults) -> None:
        self._cursor = cursor
        self._faults = faults

    def execute(self, sql: str, values: Any = ()) -> Any:
        return self._faults.do(_step(sql), Action(lambda: self._cursor.execute(sql, values)))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._faults.do(_step(sql), Action(lambda: self._cursor.executemany(sql, rows)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def _step(sql: str, steps: Mapping[str, str] = _STEPS) -> str:
    return next((step for start, step in steps.items() if sql.startswith(start)), "other")


class _Connection:
    def __init__(self, connection: Any, faults: Faults) -> None:
        self._connection = connection
        self._faults = faults

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection.cursor(), self._faults)

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def commit(self) -> None:
        self._faults.do("commit", Action(self._connection.commit))

    def rollback(self) -> None:
        self._faults.do("rollback", Action(self._connection.rollback))


class FaultyStore(Store):
    """The real database, whose writing connection fails when told."""

    faults: Faults

    @classmethod
    def made_with(cls, faults: Faults) -> Callable[[DatabaseSettings], Store]:
        def make(database: DatabaseSettings) -> Store:
            store = cls.open(database)
            assert isinstance(store, FaultyStore)
            store.faults = faults
            return store

        return make

    def _look_up(self, *statement: Any) -> Any:
        look_up = Action(lambda: super(FaultyStore, self)._look_up(*statement))
        return self.faults.do("look up", look_up)

    def _writing(self) -> Any:
        return _Connection(super()._writing(), self.faults)
