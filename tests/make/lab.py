"""A whole server and clients of it, in the test's own process: only http-01 goes over a socket.

    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        chain = client.certificate("web.lab.test")

Everything a client does is one `post`; what it would send wrongly can be set there.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import falcon.testing
import joserfc.jwk
import msgspec

from certeasy.app import Application
from certeasy.clock import Clock
from certeasy.settings import Settings
from tests.fakes.web_server import WebServer, page, redirect
from tests.make.csrs import a_csr, p256
from tests.make.server import URL, a_server, lab_settings
from tests.make.signers import Signer, a_signer, b64
from tests.make.waiting import soon

JOSE = {"Content-Type": "application/jose+json"}
PATIENCE = 10.0
"""Seconds after which a test stops waiting for the server's workers."""

Result = falcon.testing.Result


class Lab:
    """A server, and the web server that all names below lab.test lead to."""

    def __init__(self, server: Application, shown: dict[str, str]) -> None:
        self.server = server
        self.shown = shown
        """What the web server shows: key authorization by token."""
        self.redirects: dict[str, str] = {}
        """Where the web server redirects to: location by token."""
        self.on_request: Callable[[bytes], None] = lambda _request: None
        """What the web server does with a request before it answers, in a thread of its own."""
        self.links: list[str] = []
        """The Link headers of the last answer, one by one."""
        self.wire = falcon.testing.TestClient(self._answered)

    def _answered(self, environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            self.links = [value for name, value in headers if name == "link"]
            return start_response(status, headers, *exc_info)

        return self.server.acme(environ, start)

    def journal(self) -> list[bytes]:
        """Return the journal's lines, once it has all that the database has now."""
        node = self.server.node
        stored = node.store.server(node.identity.server_id)
        assert stored is not None
        lines: list[bytes] = []

        def level() -> bool:
            lines[:] = node.journal.path.read_bytes().split(b"\n")[:-1]
            return msgspec.json.decode(lines[-1])["seq"] >= stored.seq

        soon(level)
        return lines

    def client(self, signer: Signer | None = None) -> "Client":
        """Return a new client with a key of its own, without an account yet."""
        return Client(self, signer or a_signer())

    def a_nonce(self) -> str:
        """Return a nonce as clients get one."""
        nonce: str = self.wire.simulate_head("/acme/new-nonce").headers["replay-nonce"]
        return nonce


class Client:
    """An ACME client that does as it is told."""

    def __init__(self, lab: Lab, signer: Signer) -> None:
        self.lab = lab
        self.signer = signer
        self.kid: str | None = None
        self._nonce: str | None = None

    def drop_nonce(self) -> None:
        """Ask for a new nonce before the next request."""
        self._nonce = None

    def signed(self, url: str, payload: bytes | dict[str, Any] = b"", **spoiled: Any) -> bytes:
        """Return the body of a request, with a nonce that is good."""
        nonce, self._nonce = self._nonce or self.lab.a_nonce(), None
        return self.signer.request(
            payload, **{"url": url, "kid": self.kid, "nonce": nonce} | spoiled
        )

    def post(self, url: str, payload: bytes | dict[str, Any] = b"", **spoiled: Any) -> Result:
        """Send a signed request and return the answer; its nonce is used for the next one."""
        return self.send(url, self.signed(url, payload, **spoiled))

    def send(self, url: str, body: bytes, headers: dict[str, str] | None = None) -> Result:
        """Send a body as it is."""
        path = url.removeprefix(URL)
        result = self.lab.wire.simulate_post(path, body=body, headers=headers or JOSE)
        self._nonce = result.headers.get("replay-nonce")
        return result

    def register(self, **wishes: Any) -> Result:
        """Register the key, and be that account from now on."""
        self.kid = None
        result = self.post(f"{URL}/acme/new-account", {"termsOfServiceAgreed": True} | wishes)
        assert result.status_code in (200, 201), result.text
        self.kid = result.headers["location"]
        return result

    def order(self, *names: str, **wishes: Any) -> Result:
        """Place an order."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post(f"{URL}/acme/new-order", {"identifiers": identifiers} | wishes)

    def placed(self, *names: str) -> str:
        """Place an order that is taken, and return its URL."""
        result = self.order(*names)
        assert result.status_code == 201, result.text
        return str(result.headers["location"])

    def see(self, url: str) -> dict[str, Any]:
        """Return what is at a URL: a POST-as-GET that must succeed."""
        result = self.post(url)
        assert result.status_code == 200, result.text
        seen: dict[str, Any] = msgspec.json.decode(result.content)
        return seen

    def wait(self, url: str, *statuses: str) -> dict[str, Any]:
        """Return what is at a URL once it has one of the statuses."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self.see(url))["status"] not in statuses:
            assert time.monotonic() < deadline, f"{url} is still {seen}"
            time.sleep(0.01)
        return seen

    def challenges(self, order: str, kind: str = "http-01") -> list[dict[str, Any]]:
        """Return the challenge of one type of each of an order's authorizations."""
        authorizations = [self.see(url) for url in self.see(order)["authorizations"]]
        return [
            next(each for each in authorization["challenges"] if each["type"] == kind)
            for authorization in authorizations
        ]

    def prove(self, order: str) -> dict[str, Any]:
        """Prove every name of an order, and return it, ready."""
        for challenge in self.challenges(order):
            self.lab.shown[challenge["token"]] = self.key_authorization(challenge["token"])
            assert self.post(challenge["url"], {}).status_code == 200
        return self.wait(order, "ready", "invalid")

    def key_authorization(self, token: str) -> str:
        """Return what RFC 8555 section 8.1 says, by way of another library."""
        return f"{token}.{joserfc.jwk.import_key(self.signer.jwk).thumbprint()}"

    def ready(self, *names: str) -> str:
        """Place an order and prove all of it; return its URL."""
        order = self.placed(*names)
        assert self.prove(order)["status"] == "ready"
        return order

    def finalize(self, order: str, csr: bytes) -> Result:
        """Send a certificate request for an order."""
        return self.post(self.see(order)["finalize"], {"csr": b64(csr)})

    def issued(self, *names: str, key: Any = None) -> str:
        """Go all the way; return the URL of an order that is valid."""
        order = self.ready(*names)
        result = self.finalize(order, a_csr(*names, key=key or p256(1)))
        assert result.status_code == 200, result.text
        assert self.wait(order, "valid", "invalid")["status"] == "valid"
        return order

    def certificate(self, *names: str, key: Any = None) -> bytes:
        """Go all the way; return the chain in PEM."""
        order = self.issued(*names, key=key)
        return self.post(self.see(order)["certificate"]).content


@contextmanager
def a_lab(
    folder: Path,
    *,
    clock: Clock | None = None,
    change: Callable[[Settings], Settings] = lambda settings: settings,
    sections: dict[str, Any] | None = None,
    build: Callable[..., Application] = Application,
    **server: Any,
) -> Iterator[Lab]:
    """Open a lab; `server` are settings of the server's section, `sections` replace others, and
    `change` changes any of them. `build` makes the server."""
    shown: dict[str, str] = {}

    labs: list[Lab] = []

    def answer(request: bytes) -> list[bytes | float]:
        token = request.split(b" ", 2)[1].rpartition(b"/")[2].decode()
        for lab in labs:
            lab.on_request(request)
            if token in lab.redirects:
                return [redirect(lab.redirects[token])]
        found = shown.get(token)
        return [page(b"nothing here", "404 Not Found") if found is None else page(found.encode())]

    with WebServer(answer) as web:
        settings = change(lab_settings(folder, http_port=web.port))
        settings = msgspec.structs.replace(settings, **(sections or {}))
        if server:
            section = msgspec.structs.replace(settings.server, **server)
            settings = msgspec.structs.replace(settings, server=section)
        with a_server(folder, clock=clock, settings=settings, build=build) as application:
            labs.append(Lab(application, shown))
            yield labs[0]


def problem(result: Result) -> tuple[int, str, str]:
    """Return status, type (without its prefix) and detail, after checking the document's form."""
    assert result.headers["content-type"] == "application/problem+json", result.text
    document = msgspec.json.decode(result.content)
    assert b":null" not in result.content
    assert b"\n" not in result.content
    assert document["status"] == result.status_code
    prefix, _, kind = document["type"].rpartition(":")
    assert prefix == "urn:ietf:params:acme:error"
    return result.status_code, kind, document["detail"]


__all__ = ["URL", "Client", "Lab", "a_lab", "problem"]
