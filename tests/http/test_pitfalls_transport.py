"""How clients find and reach the server, where they are known to stumble: pitfalls 48 to 50."""

import itertools
import ssl
from collections.abc import Iterator

import falcon.testing
import pytest
from cryptography import x509

from certeasy.admin import health
from certeasy.serve.listener import Listener
from certeasy.settings import root_file
from tests.make.lab import URL, Lab, a_lab
from tests.make.served import Reply, ask, dial, get, serving


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def listener(lab: Lab) -> Iterator[Listener]:
    """The server on a real socket."""
    with serving(lab.server.acme) as made:
        yield made


def is_problem(reply: Reply, status: int) -> bool:
    return (reply.status, reply.headers["content-type"], reply.body[:8]) == (
        status,
        "application/problem+json",
        b'{"type":',
    )


@pytest.mark.parametrize("path", ["/", "/directory", "/dir", "/acme/directory"])
def test_pitfall_48_the_directory_is_wherever_people_look_for_it(lab: Lab, path: str) -> None:
    """Pitfall 48, RFC 8555 section 7.1.1: people type a bare host, or what another server has."""
    result = lab.wire.simulate_get(path)
    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert result.json["newOrder"] == f"{URL}/acme/new-order"


def test_pitfall_48_a_browser_is_shown_a_page(lab: Lab) -> None:
    """Pitfall 48: by Accept: text/html, at the bare address alone."""
    wishes = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = lab.wire.simulate_get("/", headers=wishes)
    assert page.headers["content-type"].startswith("text/html")
    assert f"{URL}/acme/directory" in page.text
    assert lab.wire.simulate_get("/acme/directory", headers=wishes).json["newNonce"]


def test_pitfall_49_head_and_options_are_answered(listener: Listener) -> None:
    """Pitfall 49: on one connection, which goes on after each."""
    connection = dial(listener)
    for path in ("/acme/directory", "/acme/new-nonce", "/acme/new-order", "/nowhere"):
        head = ask(connection, get(path).replace(b"GET", b"HEAD", 1), "HEAD")
        assert head.body == b""
        assert head.status in (200, 404, 405)
        options = ask(connection, get(path).replace(b"GET", b"OPTIONS", 1), "OPTIONS")
        assert options.status in (200, 204, 404)
    connection.close()


def test_pitfall_49_a_body_without_a_length_and_one_that_is_broken_off_harm_nobody(
    listener: Listener,
) -> None:
    """Pitfall 49: chunked uploads, whole and aborted."""
    head = b"POST /acme/new-order HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/jose+json\r\n\r\n"
    whole = dial(listener)
    assert is_problem(ask(whole, head + b"2\r\n{}\r\n0\r\n\r\n", "POST"), 400)
    whole.close()
    for sent in (head, head + b"ff\r\nabc", head + b"2\r\n{}\r\n"):
        aborted = dial(listener)
        aborted.sendall(sent)
        aborted.close()
    bare = dial(listener)
    typed = b"Content-Type: application/jose+json\r\n"
    request = b"POST /acme/new-order HTTP/1.1\r\nHost: acme.test\r\n" + typed + b"\r\n"
    assert ask(bare, request, "POST").status in (400, 411)
    bare.close()
    last = dial(listener)
    assert ask(last, get("/acme/directory")).status == 200
    last.close()


def test_pitfall_49_every_refusal_is_json_whoever_says_it(
    lab: Lab, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pitfall 49, RFC 8555 section 6.7: the router's 404 and 405, the listener's 413, a 500."""
    connection = dial(listener)
    assert is_problem(ask(connection, get("/nowhere")), 404)
    assert is_problem(ask(connection, get("/acme/new-order")), 405)
    broken = get("/acme/directory").replace(b"GET", b"BREW", 1)
    reply = ask(connection, broken)
    assert is_problem(reply, reply.status)
    assert 400 <= reply.status < 500
    connection.close()
    large = dial(listener)
    request = b"POST /acme/new-order HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 9999999\r\n\r\n"
    assert is_problem(ask(large, request, "POST"), 413)
    large.close()

    def surprised(*_: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(lab.server.committer, "get", surprised)
    client = lab.client()
    client.kid = f"{URL}/acme/acct/{'0' * 26}"
    result = client.post(f"{URL}/acme/new-order", {})
    assert result.status_code == 500
    assert result.headers["content-type"] == "application/problem+json"
    assert "secret" not in result.text


def test_pitfall_50_the_root_to_trust_is_where_an_administrator_finds_it(lab: Lab) -> None:
    """Pitfall 50: at /ca.pem of the admin listener, and in the workdir."""
    admin = falcon.testing.TestClient(lab.server.admin)
    result = admin.simulate_get("/ca.pem")
    assert result.status_code == 200
    (root,) = x509.load_pem_x509_certificates(result.content)
    assert root.issuer == root.subject
    assert root_file(lab.server.settings, "lab-ca").read_bytes() == result.content
    assert ssl.create_default_context(cadata=result.text).get_ca_certs()
    # It vouches for what is issued here.
    client = lab.client()
    client.register()
    chain = x509.load_pem_x509_certificates(client.certificate("web.lab.test"))
    for below, above in itertools.pairwise([*chain, root]):
        below.verify_directly_issued_by(above)


def test_pitfall_50_a_person_is_told_how_each_client_is_made_to_trust_it(lab: Lab) -> None:
    """Pitfall 50: each client has its own way."""
    page = lab.wire.simulate_get("/", headers={"Accept": "text/html"}).text
    for word in (
        "REQUESTS_CA_BUNDLE",
        "LEGO_CA_CERTIFICATES",
        "--ca-bundle",
        "caBundle",
        "acme_ca_root",
        "MDCACertificateFile",
    ):
        assert word in page


def test_pitfall_50_without_an_embedded_ca_there_is_no_root_to_show() -> None:
    """Pitfall 50: another CA's root is its own to publish."""
    admin = falcon.testing.TestClient(health.build(health.Readiness({})))
    assert admin.simulate_get("/ca.pem").status_code == 404
