"""The client behind our proxies, and strangers who claim to be somebody else."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide.client_address import client_address

OURS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
ADDRESSES = st.ip_addresses().map(str)
PROXIES = st.one_of(
    st.ip_addresses(network=OURS[0]).map(str), st.ip_addresses(network=OURS[1]).map(str)
)
STRANGERS = ADDRESSES.filter(
    lambda text: not any(ip_address(client_address(text, None, ())) in network for network in OURS)
)


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.7:50123", "192.0.2.7"),
        ("10.0.0.1", "2001:DB8::7", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("fd00::1%eth0", "192.0.2.7", "192.0.2.7"),
        ("", "192.0.2.7", ""),
    ],
)
def test_the_rightmost_address_that_is_not_ours_is_the_client(peer, header, client):
    assert client_address(peer, header, OURS) == client


@pytest.mark.parametrize(
    "header",
    [
        "",
        "unknown",
        "192.0.2.7,",
        "192.0.2.256",
        "192.0.2.7:",
        "192.0.2.7:port",
        "192.0.2.7:²",
        "192.0.2.07",
        "[192.0.2.7]",
        "[2001:db8::7",
        "[2001:db8::7]443",
        "[2001:db8::7]:",
        "fe80::1%eth0",
        "192.0.2.7, bad, 10.0.0.2",
        "192.0.2.7 198.51.100.1",
    ],
)
def test_a_list_that_cannot_be_read_leaves_the_peer(header):
    assert client_address("10.0.0.1", header, OURS) == "10.0.0.1"


@given(peer=STRANGERS, header=st.text())
def test_whoever_is_not_our_proxy_is_not_believed(peer, header):
    assert client_address(peer, header, OURS) == client_address(peer, None, ())


@given(
    claimed=st.text(),
    client=STRANGERS,
    between=st.lists(PROXIES, max_size=4),
    peer=PROXIES,
)
def test_nothing_that_a_client_claims_makes_a_difference(claimed, client, between, peer):
    said_by_proxies = ",".join([client, *between])
    found = client_address(peer, f"{claimed},{said_by_proxies}", OURS)
    assert found == client_address(peer, said_by_proxies, OURS)
    assert found == client_address(client, None, ())


@given(peer=ADDRESSES, header=st.text(alphabet="0123456789abcdef:.,[] "))
def test_the_answer_is_always_an_address(peer, header):
    assert ip_address(client_address(peer, header, OURS))
