"""Where things are, and which addresses are ours."""

import pytest

from certeasy.acme.urls import Urls, an_id, authorization_id, challenge_id

ID = "0123456789abcdefghijklmnop"
URLS = Urls(["https://acme.corp.test", "https://old.corp.test:8443"])


def test_clients_are_told_the_first_address_only() -> None:
    told = [
        URLS.directory,
        URLS.new_nonce,
        URLS.new_account,
        URLS.new_order,
        URLS.revoke_cert,
        URLS.account(ID),
        URLS.orders(ID),
        URLS.order(ID),
        URLS.finalize(ID),
        URLS.authorization(ID, 0),
        URLS.challenge(ID, 0, 1),
        URLS.certificate(ID),
    ]
    assert len(set(told)) == len(told)
    for url in told:
        assert url.startswith("https://acme.corp.test/acme/")
        assert "," not in url


@pytest.mark.parametrize("base", ["https://acme.corp.test", "https://old.corp.test:8443"])
def test_a_request_may_come_to_any_of_our_addresses(base: str) -> None:
    assert URLS.is_at("/acme/new-order", f"{base}/acme/new-order")
    assert URLS.account_of(f"{base}/acme/acct/{ID}") == ID


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.corp.test/acme/new-order",
        "https://acme.corp.test/acme/new-order/",
        "https://acme.corp.test/acme/new-order?x=1",
        "https://acme.corp.test/acme/new-account",
        "https://acme.corp.test:443/acme/new-order",
        "https://evil.test/acme/new-order",
        "/acme/new-order",
        "",
    ],
)
def test_another_url_is_not_the_same_place(url: str) -> None:
    assert not URLS.is_at("/acme/new-order", url)


@pytest.mark.parametrize(
    "kid",
    [
        f"https://evil.test/acme/acct/{ID}",
        f"http://acme.corp.test/acme/acct/{ID}",
        f"https://acme.corp.test/acme/acct/{ID}/orders",
        f"https://acme.corp.test/acme/acct/{ID.upper()}",
        f"https://acme.corp.test/acme/acct/{ID}\n",
        "https://acme.corp.test/acme/acct/",
        "https://acme.corp.test/acme/acct/1",
        ID,
        "",
    ],
)
def test_another_kid_is_no_account_of_ours(kid: str) -> None:
    assert URLS.account_of(kid) is None


def test_the_parts_of_an_order_are_found_by_their_urls() -> None:
    base = "https://acme.corp.test/acme"
    assert an_id(URLS.order(ID).removeprefix(f"{base}/order/")) == ID
    assert authorization_id(URLS.authorization(ID, 12).removeprefix(f"{base}/authz/")) == (ID, 12)
    assert challenge_id(URLS.challenge(ID, 3, 0).removeprefix(f"{base}/challenge/")) == (ID, 3, 0)


@pytest.mark.parametrize(
    "text",
    ["", "-", ID, f"{ID}-", f"{ID}-00", f"{ID}-01-0", f"{ID}--1", f"{ID}-x", f"{ID}-1-", f"{ID}-٣",
     f"{ID}-0-0-0", "x-0", "x-0-0", f"{ID}-99999", f"{ID}-0\n", f"{ID}-0-0\n", f"{ID.upper()}-0"],
)  # fmt: skip
def test_nothing_else_is_a_part_of_an_order(text: str) -> None:
    assert authorization_id(text) is None
    assert challenge_id(text) is None
    assert an_id(text) in (None, ID)
