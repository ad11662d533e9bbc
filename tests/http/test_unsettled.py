"""`certeasy unsettled`: an administrator is told what is open between the log and the CAs."""

from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from certeasy.cli import group
from tests.fakes.far_authority import serial_of
from tests.make.configs import a_config
from tests.make.far_lab import NAME, a_far_lab
from tests.make.lab import URL
from tests.make.signers import b64


def run(config: Path, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(group, ["unsettled", "-f", str(config), *words])
    assert result.exit_code == code, result.output
    return result.output


def listed(config: Path) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = msgspec.json.decode(run(config, "--json"))
    return told


def the_config(tmp_path: Path) -> Path:
    return a_config(tmp_path, workdir=f'"{tmp_path / "node"}"')


def test_nothing_is_open_where_all_is_well(tmp_path: Path) -> None:
    config = the_config(tmp_path)
    with a_far_lab(tmp_path / "node") as lab:
        lab.ends(lab.finalized(lab.a_client()), "valid")
        assert run(config) == "nothing is open\n"
        assert listed(config) == []


def test_what_is_open_is_listed_with_what_is_known_of_it(tmp_path: Path) -> None:
    config = the_config(tmp_path)
    with a_far_lab(tmp_path / "node", probes=False, shows=False) as lab:
        lab.ca.next("lost")
        twin = lab.finalized(lab.a_client())
        lab.ends(twin, "valid")
        [found] = listed(config)
        assert (found["kind"], found["state"]) == ("twin", "looked-for")
        assert (found["order"], found["attempt"], found["names"]) == (twin, 1, [NAME])
        lab.tells(twin, "issuance.searched", minutes=3)
        lab.ca.next("pending")
        waits = lab.finalized(lab.a_client(), "waits.lab.test")
        lab.tells(waits, "issuance.pending")
        lab.ca.next("wrong")
        lab.ca.refuses = True
        wrong = lab.finalized(lab.a_client(), "odd.lab.test")
        lab.tells(wrong, "revocation.failed", minutes=1)
        lab.ca.away = True
        found = {each["kind"] + " " + each["state"]: each for each in listed(config)}
        assert set(found) == {"approval waiting", "twin not-found", "revocation failed"}
        assert found["approval waiting"]["request"] == "lab\\3"
        failed = found["revocation failed"]
        assert failed["serial"] == serial_of(lab.ca.certificates()[-1])
        assert failed["detail"] == "not what was ordered: access is denied"
        lines = run(config).splitlines()
        assert len(lines) == 3
        assert f"approval  waiting  lab-ca  order {waits}  attempt 1  request lab\\3" in lines[0]


def test_a_revocation_and_a_doubt_are_open_until_the_authority_is_back(tmp_path: Path) -> None:
    config = the_config(tmp_path)
    with a_far_lab(tmp_path / "node") as lab:
        lab.ca.next("issued", "lost")
        client = lab.a_client()
        order_id = lab.finalized(client)
        lab.ends(order_id, "valid")
        gate = lab.ca.hold()
        doubt = lab.finalized(client, "doubt.lab.test")
        assert lab.ca.told_slowly.acquire(timeout=10)
        lab.ca.away = True
        gate.set()
        lab.tells(doubt, "issuance.in-doubt")
        client.drop_nonce()
        wish = {"certificate": b64(lab.given()[0])}
        assert client.post(f"{URL}/acme/revoke-cert", wish).status_code == 200
        found = [(each["kind"], each["state"], each["order"]) for each in listed(config)]
        assert found == [("in-doubt", "waiting", doubt), ("revocation", "waiting", order_id)]
        lab.ca.away = False
        lab.ends(doubt, "valid")
        lab.tells(order_id, "revocation.published", minutes=1)
        assert listed(config) == []


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    assert "there is no database" in run(the_config(tmp_path), code=1)


def test_an_order_that_waits_for_an_authority_is_listed_with_what_is_wrong_with_that(
    tmp_path: Path,
) -> None:
    config = the_config(tmp_path)
    with a_far_lab(tmp_path / "node") as lab:
        lab.ca.away = True
        order_id = lab.finalized(lab.a_client())
        lab.tells(order_id, "issuance.failed")
        [found] = listed(config)
        assert (found["kind"], found["order"], found["authority"]) == ("order", order_id, "lab-ca")
        assert found["detail"].startswith("the authority cannot be used: ")
        lab.ca.away = False
        lab.ends(order_id, "valid")
