"""A node's workdir as an auditor finds it: journal and database, and what is done to them then."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from certeasy.audit.verifying import Given, verify
from events.signing import SigningKey
from journal.breaks import JournalBroken
from journal.verify import Summary
from tests.make.databases import a_database
from tests.make.journals import ALog


class Installation:
    """A node's workdir: journal, database, server_id. `log` may have other nodes' lines too."""

    def __init__(self, folder: Path, log: ALog, *, made: bool = False) -> None:
        self.folder = folder
        self.log = log
        self.journal = folder / "audit.log"
        self.database = folder / "db.sqlite"
        if made:
            return
        self.write(log)
        (folder / "server_id").write_text(f"{log.nodes[0].server_id}\n")

    def write(self, log: ALog) -> None:
        """Put another log in the place of this one, in journal and database."""
        self.journal.write_bytes(log.nodes[0].journal)
        self.database.unlink(missing_ok=True)
        a_database(log, self.database)

    def copied(self, folder: Path) -> "Installation":
        """The same in another folder, for a test to hurt."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Installation(folder, self.log, made=True)

    def given(self) -> Given:
        """It, as `audit verify -f` is given it."""
        given = Given()
        given.add_node(self.folder, self.journal, self.database)
        return given

    def verify(self) -> Summary:
        """What was proven."""
        return verify(self.given())

    def sql(self, statement: str, *values: object) -> None:
        """Do something to the database that changes it."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount != 0

    def allow_null(self) -> None:
        """Let every column take NULL, as whoever owns the file can."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')")

    def own_key(self, key: SigningKey) -> Path:
        """Lay the node's key where the server has it."""
        path = self.folder / "keys" / "signing.pem"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(key.to_pem())
        return path

    def breaks(self, match: str) -> JournalBroken:
        """The break that is found, whose message has this."""
        with pytest.raises(JournalBroken, match=match) as broken:
            self.verify()
        assert "\n" not in str(broken.value)
        return broken.value
