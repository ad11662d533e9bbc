"""The benchmark of limits: what it measures is what was asked for."""

import msgspec
from click.testing import CliRunner

from tools.limitcost import main


def test_every_address_of_a_flood_is_refused_once_and_few_are_kept():
    run = CliRunner().invoke(main, ["flood", "--addresses", "3000", "--most", "500"])
    assert run.exit_code == 0, run.output
    told = msgspec.json.decode(run.stdout)
    assert told["refused"] == 3000
    assert 450 <= told["subjects_kept"] <= told["most_kept"] == 500
    assert told["cpu_us"] > 0
    assert 0 < told["kept_mib"] < 5
