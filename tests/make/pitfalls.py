"""What the tests of pitfalls share: a look at all that clients are sent."""

from collections.abc import Iterator
from typing import Any

from tests.make.lab import URL, Client, Lab, Result

VERBS = ("pending", "ready", "processing", "valid", "invalid")


def everything(client: Client, order: str) -> Iterator[Result]:
    """Give the answers by which a client sees all of an order and of its account."""
    seen = client.post(order)
    yield seen
    for url in seen.json["authorizations"]:
        authorization = client.post(url)
        yield authorization
        for challenge in authorization.json["challenges"]:
            yield client.post(challenge["url"])
    yield client.post(str(client.kid))
    yield client.post(f"{client.kid}/orders")
    yield client.lab.wire.simulate_get("/acme/directory")


def values(found: Any) -> Iterator[Any]:
    """Give every value in a JSON document, however deep."""
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    yield found
    for each in inner:
        yield from values(each)


def links(lab: Lab, relation: str) -> list[str]:
    """Return the targets of the last answer's Links of a relation, in the form Posh-ACME reads."""
    end = f'>;rel="{relation}"'
    found = [link for link in lab.links if link.endswith(end)]
    return [link.removeprefix("<").removesuffix(end) for link in found]


__all__ = ["URL", "VERBS", "everything", "links", "values"]
