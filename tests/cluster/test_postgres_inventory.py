"""What was issued, listed from PostgreSQL, and revoked there."""

from pathlib import Path

import msgspec
from click.testing import CliRunner

from certeasy.cli import group
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.lab import a_lab
from tests.make.postgres import Postgres, settings_of


def test_certificates_and_accounts_are_looked_after_as_everywhere(
    tmp_path: Path, postgres: Postgres
) -> None:
    dsn = postgres.a_database()
    workdir = tmp_path / "node"
    config = a_config(
        tmp_path, workdir=f'"{workdir}"', database=f"{{driver: postgres, dsn: '{dsn}'}}"
    )

    def run(*words: str) -> str:
        result = CliRunner().invoke(group, [*words, "-f", str(config)])
        assert result.exit_code == 0, result.output
        return result.stdout

    def ids(*words: str) -> list[str]:
        return [each["id"] for each in msgspec.json.decode(run(*words, "--json"))]

    with a_lab(workdir, sections={"database": settings_of(dsn)}) as lab:
        client = lab.client()
        client.register()
        urls = [client.issued(f"{name}.lab.test") for name in "abc"]
        first, second, third = (url.rpartition("/")[2] for url in urls)
        assert ids("certs", "list") == [first, second, third]
        assert ids("certs", "list", "--limit", "1", "--after", first) == [second]
        assert ids("certs", "list", "--name", "c.lab.test") == [third]
        assert ids("certs", "list", "--expiring-within", "365d") == [first, second, third]
        told = run("certs", "revoke", second, "--reason", "superseded", "--yes")
        assert "is revoked (superseded)" in told
        assert ids("certs", "list", "--status", "valid") == [first, third]
        assert run("certs", "export", first).count("BEGIN CERTIFICATE") == 2
        [account] = ids("accounts", "list", "--status", "valid")
        assert "2 certificates stay good" in run("accounts", "deactivate", account, "--yes")
    assert ids("accounts", "list", "--status", "revoked") == [account]
    check_node(workdir, database=settings_of(dsn))
