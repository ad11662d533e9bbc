"""The tables can be thrown away: folded anew from the log they are the same."""

import sqlite3

from click.testing import CliRunner

from certeasy import config
from certeasy.cli import group
from tests.make.configs import a_config
from tools import history

EVENTS = 3_000  # 100,000 by hand: python -m tools.history -f config.yml --events 100000


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


def rows_of(database):
    with sqlite3.connect(database) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            )
        ]
        rows = {name: sorted(connection.execute(f"SELECT * FROM {name}")) for name in tables}  # noqa: S608
    connection.close()
    return rows


def test_a_rebuild_and_a_check_agree_with_what_was_served(tmp_path):
    path = a_config(tmp_path)
    settings = config.load(path)
    assert history.fill(settings, EVENTS) >= EVENTS

    first = run("projections", "check", "-f", path)
    assert first.exit_code == 0, first.output
    assert "events/s" in first.output
    before = rows_of(settings.database.path)

    rebuilt = run("projections", "rebuild", "-f", path)
    assert rebuilt.exit_code == 0, rebuilt.output
    assert "events/s" in rebuilt.output
    assert rows_of(settings.database.path) == before

    assert run("projections", "check", "-f", path).exit_code == 0
    assert run("audit", "verify", "-f", path).exit_code == 0


def test_a_row_changed_behind_the_log_is_named_and_mended(tmp_path):
    path = a_config(tmp_path)
    settings = config.load(path)
    history.fill(settings, 70)
    connection = sqlite3.connect(settings.database.path)
    (order,) = connection.execute("SELECT id FROM orders").fetchone()
    with connection:
        connection.execute("UPDATE orders SET status = 'invalid' WHERE id = ?", (order,))
        connection.execute("DELETE FROM order_names WHERE order_id = ?", (order,))
    connection.close()

    found = run("projections", "check", "-f", path)
    assert found.exit_code == 1
    assert f"orders {order}: not what the log says" in found.output
    assert f"{order}: missing in the table" in found.output

    assert run("projections", "rebuild", "-f", path).exit_code == 0
    assert run("projections", "check", "-f", path).exit_code == 0
