"""What the server says of itself: the directory, and a page for people at its bare address."""

from collections.abc import Iterator

import pytest

from certeasy.acme import landing
from tests.make.lab import URL, Client, Lab, a_lab

DIRECTORY = f"{URL}/acme/directory"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(
        tmp_path_factory.mktemp("lab"),
        website="https://corp.test/?a=1&b=2",
        terms_of_service="https://corp.test/terms",
        caa_identities=("ca.corp.test", "ca.corp.example"),
    ) as made:
        yield made


def test_the_directory_tells_by_which_names_caa_records_mean_this_ca(lab: Lab) -> None:
    assert lab.wire.simulate_get("/acme/directory").json["meta"] == {
        "termsOfService": "https://corp.test/terms",
        "website": "https://corp.test/?a=1&b=2",
        "caaIdentities": ["ca.corp.test", "ca.corp.example"],
    }


def test_a_browser_is_shown_a_page(lab: Lab) -> None:
    result = lab.wire.simulate_get("/", headers={"Accept": BROWSER})
    assert result.status_code == 200
    assert result.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<a href="{DIRECTORY}">' in result.text
    assert '<a href="https://corp.test/?a=1&amp;b=2">' in result.text
    for name, _line in landing.CLIENTS:
        assert f"<dt>{name}</dt>" in result.text
    assert result.text.count(DIRECTORY) >= len(landing.CLIENTS) - 2
    for word in ("<script", "<style", "<img", "<form", "http://", "{", "}"):
        assert word not in result.text
    assert result.headers["content-security-policy"].startswith("default-src 'none'")
    assert result.headers["vary"] == "Accept"
    assert f'<{DIRECTORY}>;rel="index"' in lab.links
    head = lab.wire.simulate_head("/", headers={"Accept": BROWSER})
    assert (head.status_code, head.text) == (200, "")


@pytest.mark.parametrize(
    "accept",
    [None, "", "*/*", "application/json", "application/json, text/html", "application/*;q=1", "x"],
)
def test_a_client_is_shown_the_directory(lab: Lab, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    result = lab.wire.simulate_get("/", headers=headers)
    assert result.headers["content-type"] == "application/json"
    assert result.json["newNonce"] == f"{URL}/acme/new-nonce"


@pytest.mark.parametrize("path", ["/directory", "/dir", "/acme/directory"])
def test_the_directory_is_never_a_page(lab: Lab, path: str) -> None:
    result = lab.wire.simulate_get(path, headers={"Accept": BROWSER})
    assert result.json["newNonce"] == f"{URL}/acme/new-nonce"


def test_an_account_that_asks_is_shown_the_directory_whatever_it_accepts(lab: Lab) -> None:
    client: Client = lab.client()
    client.register()
    body = client.signed(f"{URL}/")
    headers = {"Content-Type": "application/jose+json", "Accept": BROWSER}
    assert client.send("/", body, headers).json["newNonce"] == f"{URL}/acme/new-nonce"
