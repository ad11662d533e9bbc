"""What a look-up costs does not grow with the log: each is led by an index, on every database."""

import pytest

from certeasy import config
from certeasy.store import Store, plans
from tests.make.configs import a_config
from tools import history
from tools.ordercost import compare

EVENTS = 700


@pytest.fixture(params=["sqlite", "postgres"])
def settings(tmp_path, request):
    section = None
    if request.param == "postgres":
        dsn = request.getfixturevalue("postgres").a_database()
        # A small table is read as a whole, index or not, unless that is forbidden; but then every
        # statement is thought to be so dear that it is worth compiling.
        options = "-cenable_seqscan%3Doff%20-cjit%3Doff"
        section = f"{{driver: postgres, dsn: '{dsn}?options={options}'}}"
    sections = {} if section is None else {"database": section}
    settings = config.load(a_config(tmp_path, **sections))
    assert history.fill(settings, EVENTS) >= EVENTS
    return settings


def test_every_look_up_is_led_by_an_index(settings):
    found = plans.plans(settings.database)
    asked = {plan.asked for plan in found}
    assert {
        "lines",
        "lines_of",
        "last_line",
        "last_of_type",
        "orders_of",
        "orders_for",
        "orders_of_name",
        "run_out",
        "over",
        "revocations_among",
        "certificates_wanted",
        "get",
        "stream",
    } <= asked
    assert [(plan.asked, plan.sql, plan.steps) for plan in found if plan.whole] == []


def test_a_look_up_without_an_index_is_told(settings):
    store = Store.open(settings.database)
    with plans.recorded(store) as seen, store.reader.connect() as connection:
        connection.exec_driver_sql("SELECT line FROM events WHERE type = 'x'")
        [(_, sql, values)] = seen
        assert plans._plan(connection, "by hand", sql, values).whole == "events"
    store.close()


def test_an_order_takes_as_many_statements_on_a_longer_log(tmp_path):
    folders = [tmp_path / name for name in ("small", "large")]
    files = []
    for folder, events in zip(folders, (70, 2000), strict=True):
        folder.mkdir()
        files.append(a_config(folder))
        history.fill(config.load(files[-1]), events)
    figures = compare(*files, pairs=2, orders=20)
    statements = figures["statements_per_order"]
    assert statements["small"] == statements["large"]
    assert len(statements["small"]) == 1
