"""The load's figures are of certificates that were issued, once each."""

import msgspec
from click.testing import CliRunner

from tools.adcsload import main


def test_orders_are_measured_and_what_others_wait_meanwhile(tmp_path):
    words = ["--clients", "2", "--orders", "6", "--warmup", "2", "--ca-ms", "20"]
    result = CliRunner().invoke(main, [*words, "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    told = msgspec.json.decode(result.stdout)
    assert (told["certificates"], told["failures"], told["twice"]) == (6, {}, 0)
    assert told["server"]["cpu_ms_per_certificate"] > 0
    assert set(told["others_ms"]) == {"directory", "newNonce", "newOrder", "order"}
