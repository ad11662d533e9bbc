"""A ticket that somebody else fetched is read as MIT Kerberos writes it."""

from datetime import UTC, datetime, timedelta

import pytest
from impacket.krb5 import asn1
from impacket.krb5.crypto import Key
from pyasn1.codec.der import encoder

from certeasy.ca.adcs.ccache import read_ccache
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.tickets import Ticket, named
from tests.make.keytabs import a_ccache

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
WHO = "svc@LAB.TEST"


def a_ticket(*service: str, ends: timedelta = timedelta(hours=10), renewable: bool = True):
    ticket = asn1.Ticket()
    ticket["tkt-vno"], ticket["realm"] = 5, "LAB.TEST"
    asn1.seq_set(ticket, "sname", lambda name: named(name, 2, service))
    sealed = ticket.setComponentByName("enc-part")["enc-part"]
    sealed["etype"], sealed["kvno"], sealed["cipher"] = 18, 2, b"sealed"
    until = NOW + timedelta(days=7) if renewable else None
    return Ticket(
        ("svc",), "LAB.TEST", service, encoder.encode(ticket), Key(18, b"k" * 32),
        NOW - timedelta(hours=1), NOW + ends, until, NOW, b"",
    )  # fmt: skip


@pytest.mark.parametrize("version", [3, 4])
def test_the_ticket_that_lasts_longest_is_taken(tmp_path, version):
    file = a_ccache(
        tmp_path / "cache",
        WHO,
        [
            a_ticket("host", "ca1.lab.test", ends=timedelta(hours=20)),
            a_ticket("krbtgt", "LAB.TEST", ends=timedelta(hours=1)),
            a_ticket("krbtgt", "LAB.TEST", ends=timedelta(hours=9)),
            a_ticket("krbtgt", "OTHER.TEST", ends=timedelta(hours=12)),
        ],
        version=version,
    )
    found = read_ccache(file, "SVC", "LAB.TEST", NOW)
    assert (found.client, found.realm) == (("svc",), "LAB.TEST")
    assert found.expires == NOW + timedelta(hours=9)
    assert found.stale == NOW + timedelta(hours=7)
    assert found.renewable_until == NOW + timedelta(days=7)
    assert found.session.contents == b"k" * 32
    assert found.der == a_ticket("krbtgt", "LAB.TEST").der


def test_a_ticket_that_cannot_be_renewed_says_so(tmp_path):
    file = a_ccache(tmp_path / "cache", WHO, [a_ticket("krbtgt", "LAB.TEST", renewable=False)])
    assert read_ccache(file, "svc", "LAB.TEST", NOW).renewable_until is None


@pytest.mark.parametrize(
    ("owner", "tickets", "told"),
    [
        ("other@LAB.TEST", [a_ticket("krbtgt", "LAB.TEST")], "belongs to other@LAB.TEST"),
        (WHO, [a_ticket("host", "ca1")], "has no ticket krbtgt/LAB.TEST"),
        (WHO, [], "has no ticket krbtgt/LAB.TEST"),
        (WHO, [a_ticket("krbtgt", "LAB.TEST", ends=-timedelta(1))], "expired at 2026-11-01T09"),
    ],
)
def test_a_cache_without_the_ticket_is_refused_with_a_remedy(tmp_path, owner, tickets, told):
    file = a_ccache(tmp_path / "cache", owner, tickets)
    with pytest.raises(NotAuthenticated, match=told) as refused:
        read_ccache(file, "svc", "LAB.TEST", NOW)
    assert refused.value.remedy


def test_a_cache_that_is_cut_anywhere_is_refused(tmp_path):
    whole = a_ccache(tmp_path / "cache", WHO, [a_ticket("krbtgt", "LAB.TEST")]).read_bytes()
    file = tmp_path / "cut"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        file.chmod(0o600)
        with pytest.raises(NotAuthenticated):
            read_ccache(file, "svc", "LAB.TEST", NOW)
