"""Every route of the server, and what stands there: who may open it, and how strangers would try.

`DOORS` has an entry for each route of the application; a test compares the two. Who adds a route
adds a line here and says what kind of thing it leads to:

    Open()         anybody's: nothing there belongs to an account
    Making(...)    makes something for whoever asks; nobody's object is named in the request
    Owned(...)     leads to an object of one account: its URL, and each way of asking for it
    Naming(...)    one URL for all; the request names an object that belongs to somebody

The generated tests (test_hostile_accounts, test_hostile_requests) do the rest.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import falcon.inspect
import joserfc.jwk

from certeasy.acme.app import App
from tests.make.csrs import a_csr, p256
from tests.make.lab import URL, Client, Lab, a_lab
from tests.make.signers import a_signer, b64

Payload = bytes | dict[str, Any]


class Owner:
    """An account that has one of everything; `number` tells it from the others."""

    def __init__(self, lab: Lab, number: int) -> None:
        self.lab = lab
        self.client = client = lab.client()
        self.names = tuple(f"{label}-{number}.lab.test" for label in ("asked", "proven", "issued"))
        self.contact = f"mailto:owner-{number}@corp.test"
        self.key = p256(100 + number)
        client.register(contact=[self.contact])
        asked, proven, issued = self.names
        self.order = client.placed(asked)
        (self.authorization,) = client.see(self.order)["authorizations"]
        (self.challenge,) = client.challenges(self.order)
        self.ready = client.ready(proven)
        self.valid = client.issued(issued, key=self.key)
        self.finalize: str = client.see(self.ready)["finalize"]
        self.certificate: str = client.see(self.valid)["certificate"]
        chain = client.post(self.certificate).content
        pem = chain.split(b"-----")[2].replace(b"\n", b"").decode()
        self.der = pem.rstrip("=").replace("+", "-").replace("/", "_")

    @property
    def account(self) -> str:
        """The URL of the account."""
        return str(self.client.kid)

    @property
    def csr(self) -> Payload:
        """The certificate request that would finalize the order that is ready."""
        return {"csr": b64(a_csr(self.names[1], key=self.key))}

    def secrets(self) -> list[str]:
        """What nobody else is told: names, contact, tokens, ids, keys."""
        ids = [url.rpartition("/")[2] for url in (self.account, self.order, self.ready, self.valid)]
        thumbprint: str = joserfc.jwk.import_key(self.client.signer.jwk).thumbprint()
        return [
            *self.names,
            *ids,
            self.contact.removeprefix("mailto:"),
            self.challenge["token"],
            self.client.signer.jwk["x"],
            thumbprint,
            self.der[40:80],
        ]


@dataclass(frozen=True)
class Door:
    """A route. `url` is where it is for an owner; `right` what its owner may send there."""

    url: Callable[[Owner], str]
    right: Callable[[Owner], Payload]
    strangers: Mapping[str, Callable[[Owner], Payload]] = field(default_factory=dict)
    """What somebody else would send about the owner's object, by what it would do."""
    by_key: bool = False
    """Whether requests are signed with a key, not with an account."""


def _empty(_: Owner) -> Payload:
    return b""


def Open(path: str) -> Door:  # noqa: N802 - reads as a kind
    """Return a door to what is anybody's."""
    return Door(lambda _: URL + path, _empty)


def Making(path: str, right: Callable[[Owner], Payload], *, by_key: bool = False) -> Door:  # noqa: N802
    """Return a door that makes something for whoever asks."""
    return Door(lambda _: URL + path, right, by_key=by_key)


def Owned(url: Callable[[Owner], str], **asked: Callable[[Owner], Payload]) -> Door:  # noqa: N802
    """Return a door to an object of one account; the first way of asking is one that is right."""
    return Door(url, next(iter(asked.values())), asked)


def Naming(path: str, **asked: Callable[[Owner], Payload]) -> Door:  # noqa: N802
    """Return a door where the request names somebody's object."""
    return Door(lambda _: URL + path, next(iter(asked.values())), asked)


def _identifiers(name: str) -> Payload:
    return {"identifiers": [{"type": "dns", "value": name}]}


def _next_key(owner: Owner) -> Payload:
    """Return what a key that no account can have wants: to be an account's."""
    payload = {"account": owner.account, "oldKey": owner.client.signer.jwk}
    signer = owner.client.signer  # its own: so that the account keeps it, whatever else is right
    return signer.request(payload, url=f"{URL}/acme/key-change", header={"nonce": None})


def _another_next_key(owner: Owner) -> Payload:
    """Return what a thief's new key wants: to be the key of the owner's account."""
    payload = {"account": owner.account, "oldKey": owner.client.signer.jwk}
    return a_signer().request(payload, url=f"{URL}/acme/key-change", header={"nonce": None})


DOORS: dict[str, Door] = {
    "/": Open("/"),
    "/directory": Open("/directory"),
    "/dir": Open("/dir"),
    "/acme/directory": Open("/acme/directory"),
    "/acme/new-nonce": Open("/acme/new-nonce"),
    "/acme/new-account": Making("/acme/new-account", lambda _: {}, by_key=True),
    "/acme/new-order": Making("/acme/new-order", lambda o: _identifiers(o.names[0])),
    "/acme/new-authz": Making(
        "/acme/new-authz", lambda o: {"identifier": {"type": "dns", "value": o.names[0]}}
    ),
    "/acme/acct/{account_id:id}": Owned(
        lambda o: o.account,
        see=_empty,
        touch=lambda _: {},
        change=lambda _: {"contact": ["mailto:thief@corp.test"]},
        close=lambda _: {"status": "deactivated"},
    ),
    "/acme/acct/{account_id:id}/orders": Owned(lambda o: f"{o.account}/orders", see=_empty),
    "/acme/order/{order_id:id}": Owned(lambda o: o.order, see=_empty),
    "/acme/finalize/{order_id:id}": Owned(
        lambda o: o.finalize,
        finalize=lambda o: o.csr,
        with_another_name=lambda _: {"csr": b64(a_csr("thief.lab.test"))},
    ),
    "/acme/authz/{place:authorization}": Owned(
        lambda o: o.authorization,
        see=_empty,
        give_up=lambda _: {"status": "deactivated"},
        touch=lambda _: {},
    ),
    "/acme/challenge/{place:challenge}": Owned(
        lambda o: o.challenge["url"], see=_empty, accept=lambda _: {}
    ),
    "/acme/cert/{order_id:id}": Owned(lambda o: o.certificate, see=_empty),
    "/acme/cert/{order_id:id}/{chain:chain}": Owned(lambda o: f"{o.certificate}/0", see=_empty),
    "/acme/key-change": Naming(
        "/acme/key-change", take_over=_next_key, take_over_by_a_new_key=_another_next_key
    ),
    "/acme/revoke-cert": Naming(
        "/acme/revoke-cert",
        revoke=lambda o: {"certificate": o.der},
        revoke_with_reason=lambda o: {"certificate": o.der, "reason": 1},
    ),
}


SHOWN = {"/acme/renewal-info/{place:path}", "/acme/limits"}
"""Routes that nobody signs a request for: what they tell is everybody's. RFC 9773 section 4.1."""


@contextmanager
def a_hostile_lab(folder: Path, **server: Any) -> Iterator[Lab]:
    """Open a lab that has every route there is, those that are off by default too."""
    with a_lab(folder, pre_authorization=True, **server) as lab:
        yield lab


def routes(app: App) -> dict[str, set[str]]:
    """Return the routes of an application, each with the methods that it takes."""
    return {
        route.path: {method.method for method in route.methods if not method.internal}
        for route in falcon.inspect.inspect_routes(app)
    }


def sent(door: Door, who: Owner, about: Owner, payload: Payload, **spoiled: Any) -> Any:
    """Send what one account would send to a door about another's object (or its own)."""
    client: Client = who.client
    spoil = ({"kid": None} if door.by_key else {}) | spoiled
    return client.post(door.url(about), payload, **spoil)
