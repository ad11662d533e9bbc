"""Which addresses may be connected to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.validate.addresses import SPECIAL, AddressPolicy, connectable


def policy(*, allow: str = "", deny: str = "") -> AddressPolicy:
    def networks(words: str):
        return [ipaddress.ip_network(word) for word in words.split()]

    return AddressPolicy(networks(allow), networks(deny))


SPECIAL_ADDRESSES = [
    "0.0.0.0",  # noqa: S104 - an answer from the DNS, nothing is bound to it
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "fe80::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]


@pytest.mark.parametrize("address", SPECIAL_ADDRESSES)
@pytest.mark.parametrize("allow", ["", "0.0.0.0/0 ::/0", "::ffff:0:0/96"])
def test_special_addresses_are_not_opened_by_a_rule_for_everything(address: str, allow: str):
    assert policy(allow=allow).refusal(address) is not None


@pytest.mark.parametrize(
    ("address", "allow"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("::ffff:127.0.0.1", "127.0.0.0/8"),
        ("127.0.0.1", "::ffff:127.0.0.0/104"),
        ("::1", "::1/128"),
        ("169.254.7.7", "169.254.7.0/24"),
        ("fe80::1", "fe80::/10"),
    ],
)
def test_a_special_address_is_opened_by_a_rule_within_its_range(address: str, allow: str):
    assert policy(allow=allow).refusal(address) is None


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.0.1", "203.0.113.5", "fd00::5", "2001:db8::1"]
)
def test_without_lists_the_inner_and_the_outer_network_are_open(address: str):
    assert policy().refusal(address) is None


def test_a_deny_cidr_wins_over_every_allow_cidr():
    rules = policy(allow="10.0.0.0/8", deny="10.9.0.0/16")
    assert rules.refusal("10.8.0.1") is None
    assert rules.refusal("10.9.0.1") == "is in the deny-cidr 10.9.0.0/16"


def test_with_allow_cidrs_all_else_is_refused():
    rules = policy(allow="10.0.0.0/8")
    assert rules.refusal("192.168.1.1") == "is in none of the allow-cidrs"
    assert rules.refusal("fd00::1") == "is in none of the allow-cidrs"


@pytest.mark.parametrize(
    "written", ["::ffff:10.9.0.1", "64:ff9b::a09:1", "64:ff9b:1::a09:1", "2002:a09:1::", "10.9.0.1"]
)
def test_an_address_inside_an_address_is_judged_too(written: str):
    assert policy(deny="10.9.0.0/16").refusal(written) == "is in the deny-cidr 10.9.0.0/16"


WRAPPED = {
    "Teredo client": "2001:0:4136:e378:8000:63bf:f5f6:fffe",
    "Teredo server": "2001:0:a09:1::f7f7:f7f7",
    "6to4": "2002:a09:1::1",
    "NAT64": "64:ff9b::a09:1",
    "NAT64, local": "64:ff9b:1::a09:1",
    "NAT64, local, one of many": "64:ff9b:1:fffe::a09:1",
    "NAT64, local, /48": "64:ff9b:1:a09:0:100::",
    "NAT64, local, /48, with a suffix": "64:ff9b:1:a09:0:100:0:1",
    "NAT64, local, /56": "64:ff9b:1:a:9:1::",
    "NAT64, local, /64": "64:ff9b:1:0:a:900:100:0",
    "SIIT": "::ffff:0:a09:1",
    "ISATAP": "2001:db8::5efe:a09:1",
    "ISATAP, global": "2001:db8::200:5efe:a09:1",
}


@pytest.mark.parametrize("written", WRAPPED.values(), ids=WRAPPED)
def test_an_allowed_address_inside_does_not_open_the_address_around_it(written: str):
    assert policy(allow="10.0.0.0/8").refusal(written) == "is in none of the allow-cidrs"
    assert policy(allow="10.0.0.0/8 ::/0").refusal(written) is None


@pytest.mark.parametrize("written", WRAPPED.values(), ids=WRAPPED)
def test_a_denied_address_inside_closes_the_address_around_it(written: str):
    rules = policy(deny="10.9.0.0/16", allow="0.0.0.0/0 ::/0")
    assert rules.refusal(written) == "is in the deny-cidr 10.9.0.0/16"


@pytest.mark.parametrize(
    "written", ["64:ff9b:1:a9fe:a9:fe00::", "::ffff:0:7f00:1", "2001:db8::5efe:7f00:1"]
)
def test_a_special_address_inside_closes_the_address_around_it(written: str):
    assert "only an allow-cidr within that range opens" in str(policy().refusal(written))


@pytest.mark.parametrize("written", ["64:ff9b::808:808", "64:ff9b:1:fffe::808:808"])
def test_a_translated_address_of_the_outer_network_is_open_without_lists(written: str):
    assert policy().refusal(written) is None


@pytest.mark.parametrize("written", ["fe80::1%eth0", "2001:db8::1%1"])
def test_a_zone_id_is_refused(written: str):
    assert policy(allow="fe80::/10 2001:db8::/32").refusal(written) == "has a zone id"


@pytest.mark.parametrize(
    "written", ["", "web.lab.test", "127.1", "0177.0.0.1", "2130706433", "0x7f.1"]
)
def test_what_is_no_address_is_refused(written: str):
    assert policy().refusal(written) == "is not an IP address"


def test_the_refusal_names_the_range_that_is_closed():
    assert "loopback (127.0.0.0/8)" in str(policy().refusal("127.0.0.1"))


def test_a_mapped_address_is_connected_to_as_ipv4():
    assert connectable("::ffff:192.0.2.1") == "192.0.2.1"
    assert connectable("2001:DB8::1") == "2001:db8::1"


ADDRESSES = st.ip_addresses()
NETWORKS = st.one_of(
    st.ip_addresses(v=4).flatmap(
        lambda a: st.integers(0, 32).map(lambda n: ipaddress.ip_network((a, n), strict=False))
    ),
    st.ip_addresses(v=6).flatmap(
        lambda a: st.integers(0, 128).map(lambda n: ipaddress.ip_network((a, n), strict=False))
    ),
)


@given(ADDRESSES, st.lists(NETWORKS, max_size=4), st.lists(NETWORKS, max_size=4), NETWORKS)
def test_another_deny_cidr_never_opens_anything(address, allow, deny, more):
    if AddressPolicy(allow, deny).refusal(str(address)) is not None:
        assert AddressPolicy(allow, [*deny, more]).refusal(str(address)) is not None


@given(ADDRESSES, st.lists(NETWORKS, max_size=4), NETWORKS)
def test_another_allow_cidr_beside_one_never_closes_anything(address, allow, more):
    if allow and AddressPolicy(allow, []).refusal(str(address)) is None:
        assert AddressPolicy([*allow, more], []).refusal(str(address)) is None


@given(
    ADDRESSES | st.sampled_from(list(WRAPPED.values())),
    st.lists(NETWORKS | st.just(ipaddress.ip_network("10.0.0.0/8")), min_size=1, max_size=4),
)
def test_what_is_connected_to_is_in_an_allow_cidr(address, allow):
    mapped = ipaddress.ip_network("::ffff:0:0/96")
    if AddressPolicy(allow, []).refusal(str(address)) is None:
        reached = ipaddress.ip_address(connectable(str(address)))
        six = ipaddress.ip_address(f"::ffff:{reached}") if reached.version == 4 else reached
        assert any(
            reached in network or (six in network and network.subnet_of(mapped))
            for network in allow
        )


@given(st.ip_addresses(v=4), st.lists(NETWORKS, max_size=4), st.lists(NETWORKS, max_size=4))
def test_a_mapped_address_is_judged_as_the_one_inside(address, allow, deny):
    rules = AddressPolicy(allow, deny)
    assert rules.refusal(f"::ffff:{address}") == rules.refusal(str(address))


@given(st.sampled_from(SPECIAL), st.data())
def test_nothing_in_a_special_range_is_open_by_default(special, data):
    address = data.draw(st.ip_addresses(network=str(special[0])))
    assert policy().refusal(str(address)) is not None
