"""Who may order a certificate does not choose where this server connects to."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from certeasy.settings import Settings
from tests.make.lab import Client, Lab, a_lab
from tests.make.server import ZONE
from tests.make.waiting import soon


def with_places_inside(settings: Settings) -> Settings:
    """Return settings in which some names lead to addresses that are closed."""
    (profile,) = settings.dns_validation_profiles
    (zone,) = profile.zones
    inside = {f"metadata.{ZONE}": "169.254.169.254", f"db.{ZONE}": "10.0.0.5"}
    zone = msgspec.structs.replace(zone, hosts=zone.hosts | inside)
    profile = msgspec.structs.replace(profile, zones=(zone,))
    return msgspec.structs.replace(settings, dns_validation_profiles=(profile,))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab"), change=with_places_inside) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def told(lab: Lab, order: str) -> dict[str, Any]:
    """Return what the event says of the challenge that failed."""
    stream = f"order/{order.rpartition('/')[2]}"

    def lines() -> list[dict[str, Any]]:
        whole = lab.server.node.journal.path.read_bytes().rpartition(b"\n")[0]
        each = map(msgspec.json.decode, whole.splitlines())
        return [one for one in each if (one["stream"], one["type"]) == (stream, "challenge.failed")]

    # Others see a change from its COMMIT on; its line is in the journal a moment later.
    soon(lines)
    (line,) = lines()
    data: dict[str, Any] = line["data"]
    return data


@pytest.mark.parametrize(("name", "address"), [("metadata", "169.254.169.254"), ("db", "10.0.0.5")])
def test_a_name_that_leads_inside_is_refused_with_an_event(
    lab: Lab, client: Client, name: str, address: str
) -> None:
    """RFC 8555 section 10.4."""
    order = client.placed(f"{name}.lab.test")
    failed = client.prove(order)
    assert failed["status"] == "invalid"
    assert failed["error"]["type"].endswith(":connection")
    assert f"{name}.lab.test leads to {address}, which " in failed["error"]["detail"]
    fact = told(lab, order)
    assert fact["error"]["detail"] == failed["error"]["detail"]
    assert fact["evidence"]["addresses"] == [address]
    assert "address" not in fact["evidence"]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://metadata.lab.test/",
        "https://10.0.0.5/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.5]/",
    ],
)
def test_a_redirect_that_leads_inside_is_refused_with_an_event(
    lab: Lab, client: Client, location: str
) -> None:
    """RFC 8555 section 10.4: redirects are no way in."""
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order)
    lab.redirects[challenge["token"]] = location
    client.post(challenge["url"], {})
    failed = client.wait(order, "ready", "invalid")
    assert failed["status"] == "invalid"
    assert failed["error"]["type"].endswith(":connection")
    fact = told(lab, order)
    assert len(fact["evidence"]["urls"]) == 2
    assert "address" not in fact["evidence"]


def test_a_redirect_to_another_port_is_refused_with_an_event(lab: Lab, client: Client) -> None:
    """Ports 80, 443 and the profile's own, at every hop."""
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order)
    lab.redirects[challenge["token"]] = "http://web.lab.test:22/"
    client.post(challenge["url"], {})
    failed = client.wait(order, "ready", "invalid")
    assert "only ports 80, 443, " in failed["error"]["detail"]
    assert told(lab, order)["evidence"]["status"] == 302
