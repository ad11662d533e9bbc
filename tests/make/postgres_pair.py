"""A PostgreSQL that a second one follows, for fail-overs."""

from pathlib import Path
from tempfile import mkdtemp

from tests.make.postgres import QUICK, Postgres, a_postgres, gone, settings_of

STREAMED = (*QUICK, "wal_level=replica", "max_wal_senders=5", "hot_standby=on")


class Pair:
    """A primary and its standby."""

    def __init__(self, *, synchronous: bool) -> None:
        waits = ("synchronous_standby_names=standby",) if synchronous else ()
        self.primary = a_postgres(started=False).start(*STREAMED)
        self.standby = Postgres(Path(mkdtemp(prefix="certeasy-postgres-")))
        self.standby.copy_of(self.primary).start(*STREAMED)
        name = self.primary.a_database().rpartition("/")[2]
        if waits:
            self.primary.ask(f"ALTER SYSTEM SET {waits[0].replace('=', ' = ')}")
            self.primary.ask("SELECT pg_reload_conf()")
        self.primary.wait(self._is_streaming)
        places = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        self.database = settings_of(f"postgresql://postgres@{places}/{name}")
        self.survivor = settings_of(self.standby.dsn(name))
        self.name = name

    def _is_streaming(self) -> bool:
        rows = self.primary.ask("SELECT state FROM pg_stat_replication")
        return rows == [("streaming",)]

    def stop_streaming(self) -> None:
        """From now on the standby hears of nothing."""
        self.standby.ask("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.ask("SELECT pg_reload_conf()")
        self.primary.wait(lambda: not self.primary.ask("SELECT state FROM pg_stat_replication"))

    def fail_over(self) -> None:
        """Crash the primary and promote the standby."""
        self.primary.stop()
        self.standby.promote()

    def close(self) -> None:
        """End both."""
        gone(self.primary)
        gone(self.standby)
