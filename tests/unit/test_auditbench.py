"""The journals that the benchmark makes are journals, and its figures are of them."""

from pathlib import Path

from certeasy.audit.replay import Replay
from certeasy.audit.verifying import Given, verify
from tools.auditbench import commands, journals, run, speed


def test_its_journals_are_a_log_of_two_nodes_that_can_be_proven_and_folded(tmp_path: Path):
    paths = journals(tmp_path, 1000)
    folding = Replay(tmp_path / "state.sqlite")
    proof = verify(Given([[path] for path in paths]), watch=folding)
    folding.finish()
    folding.close()
    assert proof.complete
    assert proof.lines >= 1000
    assert all(node.lines > 400 and node.trusted for node in proof.nodes)
    assert len(proof.nodes) == 2


def test_it_measures_what_it_says(tmp_path: Path):
    paths = journals(tmp_path, 1000)
    assert journals(tmp_path, 1000) == paths
    found = speed(paths[0], rounds=1, cores=2)
    assert found["lines"] == paths[0].read_bytes().count(b"\n")
    for name, arguments in commands(paths, tmp_path):
        told = run(arguments, 1000)
        assert float(str(told["peak_memory_mib"])) > 10, name
