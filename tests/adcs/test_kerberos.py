"""An account shows tickets: it gets them, keeps them, renews them, and believes only its KDC."""

import logging
import socket
import threading
from datetime import timedelta

import pytest

from certeasy.ca.adcs.controllers import Controllers
from certeasy.ca.adcs.deadline import Bounded, Deadline, Late
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.kdc import Kdc as Kdcs
from certeasy.ca.adcs.kerberos import KerberosIdentity
from certeasy.ca.adcs.logins import by_ccache, by_keytab, by_password
from certeasy.ca.adcs.tickets import Ticket
from tests.fakes.clocks import HeldClock
from tests.fakes.kdc import AES128, AES256, RC4, Kdc
from tests.make.keytabs import a_ccache, a_keytab, an_entry

REALM, USER, SECRET = "LAB.TEST", "svc-acme", "Secret.123"
CA = "ca1.lab.test"
HOUR = 3600


class Lab:
    """A KDC, a clock, and identities that know both."""

    def __init__(self, tmp_path) -> None:
        self.at = tmp_path
        self.clock = HeldClock()
        self.kdc = Kdc(
            REALM, {USER: SECRET, "other": "Other.1"}, [f"host/{CA}", f"cifs/{CA}"],
            clock=self.clock,
        )  # fmt: skip
        self.password = tmp_path / "password"
        self.password.write_text(SECRET + "\n")
        self.password.chmod(0o600)

    def kdcs(self, *endpoints: str, patience: float = 20) -> Kdcs:
        controllers = Controllers(
            REALM.lower(), endpoints or (self.kdc.endpoint,), clock=self.clock
        )
        return Kdcs(controllers, self.clock, Bounded(), patience=patience)

    def identity(self, login=None, *, user: str = USER, kdcs: Kdcs | None = None):
        login = login or by_password(user, REALM.lower(), self.password)
        return KerberosIdentity(user, REALM.lower(), login, kdcs or self.kdcs(), self.clock)

    def keytab(self, *etypes: int, user: str = USER):
        entries = [an_entry(f"{user}@{REALM}", one, self.kdc.key_of(user, one)) for one in etypes]
        return a_keytab(self.at / "keytab", *entries)

    def ticket_of_the_domain(self, identity) -> Ticket:
        identity.credentials("host", CA, Deadline(5))
        return identity._tgt


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    with lab.kdc:
        yield lab


def show(identity, service="host", host=CA):
    return identity.credentials(service, host, Deadline(5))


def test_a_password_is_good_for_a_ticket(lab):
    shown = show(lab.identity())
    assert (shown.user, shown.domain, shown.kerberos) == (USER, REALM, True)
    assert shown.tgs["sessionKey"].enctype == AES256
    assert (shown.password, shown.aes_key, shown.tgt) == ("", "", None)
    assert lab.kdc.asked == [f"AS {USER}", f"AS {USER} proven", f"TGS host/{CA}"]


@pytest.mark.parametrize("etypes", [(AES256,), (AES128,), (RC4, AES256, AES128)])
def test_a_keytab_is_good_for_a_ticket(lab, etypes):
    identity = lab.identity(by_keytab(USER, REALM.lower(), lab.keytab(*etypes)))
    assert show(identity).tgs["sessionKey"].enctype in (AES256, AES128)
    assert "keytab" in identity.described
    assert SECRET not in identity.described


@pytest.mark.parametrize("version", [3, 4])
def test_a_credential_cache_is_good_for_a_ticket(lab, version):
    made = lab.ticket_of_the_domain(lab.identity())
    file = a_ccache(lab.at / "cache", f"{USER}@{REALM}", [made], version=version)
    lab.kdc.asked.clear()
    shown = show(lab.identity(by_ccache(USER, REALM.lower(), file)))
    assert (shown.user, shown.domain) == (USER, REALM)
    assert lab.kdc.asked == [f"TGS host/{CA}"]


def test_a_ticket_is_fetched_once_for_each_service_whatever_its_case(lab):
    identity = lab.identity()
    first = show(identity)
    assert show(identity, host=CA.upper()).tgs["KDC_REP"] == first.tgs["KDC_REP"]
    assert show(identity, "cifs").tgs["KDC_REP"] != first.tgs["KDC_REP"]
    assert lab.kdc.asked[2:] == [f"TGS host/{CA}", f"TGS cifs/{CA}"]


def test_two_identities_share_nothing(lab, monkeypatch):
    other = lab.at / "other"
    other.write_text("Other.1\n")
    other.chmod(0o600)
    monkeypatch.setenv("KRB5CCNAME", str(lab.at / "nobody-asked-for-this"))
    kdcs = lab.kdcs()
    one = lab.identity(kdcs=kdcs)
    two = lab.identity(by_password("other", REALM, other), user="other", kdcs=kdcs)
    assert (show(one).user, show(two).user) == (USER, "other")
    assert show(one).tgs["KDC_REP"] != show(two).tgs["KDC_REP"]


def test_tickets_are_renewed_when_four_fifths_of_their_life_are_over(lab):
    identity = lab.identity()
    first = show(identity).tgs["KDC_REP"]
    lab.clock.pass_by(8 * HOUR - 1)
    assert show(identity).tgs["KDC_REP"] == first
    lab.clock.pass_by(1)
    lab.kdc.asked.clear()
    assert show(identity).tgs["KDC_REP"] != first
    assert lab.kdc.asked == [f"AS {USER}", f"AS {USER} proven", f"TGS host/{CA}"]


def test_an_old_ticket_is_shown_as_long_as_it_is_good_while_no_kdc_answers(lab):
    identity = lab.identity()
    first = show(identity).tgs["KDC_REP"]
    lab.kdc.moods.add("BUSY")
    lab.clock.pass_by(9 * HOUR)
    asked = len(lab.kdc.asked)
    assert show(identity).tgs["KDC_REP"] == first
    assert show(identity).tgs["KDC_REP"] == first
    lab.clock.pass_by(HOUR)
    with pytest.raises(NotAuthenticated, match="KDC_ERR_SVC_UNAVAILABLE") as refused:
        show(identity)
    assert refused.value.transient
    lab.kdc.moods.clear()
    assert show(identity).tgs["KDC_REP"] != first
    assert len(lab.kdc.asked) == asked + 3


def test_a_ticket_that_was_refused_is_not_shown_again(lab):
    identity = lab.identity()
    first = show(identity).tgs["KDC_REP"]
    identity.forget("host", CA.upper())
    assert show(identity).tgs["KDC_REP"] != first
    assert lab.kdc.asked[2:] == [f"TGS host/{CA}"] * 2


def test_a_ticket_of_the_domain_that_is_no_longer_taken_is_fetched_anew(lab):
    identity = lab.identity()
    show(identity)
    lab.kdc.change_own_key()
    lab.kdc.asked.clear()
    show(identity, "cifs")
    assert lab.kdc.asked == [
        f"TGS cifs/{CA}", f"AS {USER}", f"AS {USER} proven", f"TGS cifs/{CA}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "symbol", "cause", "remedy"),
    [
        (6, "KDC_ERR_C_PRINCIPAL_UNKNOWN", "does not know svc-acme@LAB.TEST", "sAMAccountName"),
        (12, "KDC_ERR_POLICY", "policy refuses", "logon hours"),
        (18, "KDC_ERR_CLIENT_REVOKED", "disabled, expired, or locked", "unlock"),
        (23, "KDC_ERR_KEY_EXPIRED", "has expired, or must be changed", "never expires"),
        (37, "KRB_AP_ERR_SKEW", "clock", "NTP"),
        (68, "KDC_ERR_WRONG_REALM", "another domain", "correct `domain`"),
        (24, "KDC_ERR_PREAUTH_FAILED", "is wrong", "password-file"),
        (14, "KDC_ERR_ETYPE_NOSUPP", "in common", "24"),
        (61, "KRB_ERR_FIELD_TOOLONG", "refuses svc-acme@LAB.TEST", "security log"),
        (999, "KRB error 999", "refuses", "security log"),
    ],
)
def test_a_refused_login_is_told_with_code_cause_and_remedy(lab, code, symbol, cause, remedy):
    lab.kdc.moods.add(f"CODE {code}")
    with pytest.raises(NotAuthenticated, match=cause) as refused:
        show(lab.identity())
    assert refused.value.code == symbol
    assert remedy in refused.value.remedy
    assert SECRET not in str(refused.value)


def test_a_service_nobody_has_is_told_by_its_name(lab):
    with pytest.raises(NotAuthenticated, match=r"known as host/10\.0\.0\.7") as refused:
        show(lab.identity(), host="10.0.0.7")
    assert refused.value.code == "KDC_ERR_S_PRINCIPAL_UNKNOWN"
    assert "full DNS name" in refused.value.remedy


PROVEN = [f"AS {USER}", f"AS {USER} proven"]


def refused(identity) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated, match="is wrong") as told:
        show(identity)
    assert told.value.code == "KDC_ERR_PREAUTH_FAILED"
    return told.value


def test_a_wrong_password_is_shown_twice_and_not_again_before_it_changes(lab):
    """Domains lock accounts after a few attempts."""
    lab.password.write_text("wrong\n")
    identity = lab.identity()
    for _ in range(3):
        assert (
            "not tried again before 09:35 UTC, unless the password-file" in refused(identity).cause
        )
    assert lab.kdc.asked == PROVEN * 2
    lab.password.write_text(SECRET)
    show(identity)


def test_a_wrong_password_is_never_shown_three_times_within_half_an_hour(lab):
    """A domain that counts anew after 30 minutes without an attempt never counts to three."""
    lab.password.write_text("wrong\n")
    identity, shown = lab.identity(), []
    for minute in range(24 * 60):
        before = lab.kdc.asked.count(PROVEN[1])
        refused(identity)
        shown += [minute] * (lab.kdc.asked.count(PROVEN[1]) - before)
        lab.clock.pass_by(60)
    assert shown[:5] == [0, 0, 35, 35, 70]
    assert all(third - one > 30 for one, third in zip(shown, shown[2:], strict=False))


def test_a_password_that_was_set_in_the_domain_is_taken_after_a_rest(lab):
    lab.password.write_text("wrong\n")
    identity = lab.identity()
    refused(identity)
    lab.kdc.accounts[USER] = "wrong"
    refused(identity)
    lab.clock.pass_by(35 * 60)
    show(identity)


def test_one_forged_refusal_stops_no_login(lab, caplog):
    """Nobody protects what a KDC says in refusing. RFC 4120 section 5.9.1."""
    lab.kdc.forges = 1
    with caplog.at_level(logging.WARNING, "certeasy.adcs"):
        show(lab.identity())
    assert lab.kdc.asked == [*PROVEN * 2, f"TGS host/{CA}"]
    assert (
        f"{lab.kdc.endpoint} said that the password-file of {USER}@{REALM} is wrong" in caplog.text
    )


def test_a_refusal_is_doubted_until_another_controller_says_the_same(lab):
    with Kdc(REALM, {USER: SECRET}, [f"host/{CA}"], clock=lab.clock) as second:
        lab.kdc.accounts[USER] = "Another.1"
        identity = lab.identity(kdcs=lab.kdcs(lab.kdc.endpoint, second.endpoint))
        show(identity)
        assert (lab.kdc.asked, second.asked) == (PROVEN, [*PROVEN, f"TGS host/{CA}"])
        second.accounts[USER] = "Another.1"
        lab.clock.pass_by(11 * HOUR)
        refused(identity)
        refused(identity)
        assert (lab.kdc.asked, second.asked) == (PROVEN * 2, [*PROVEN, f"TGS host/{CA}", *PROVEN])


def test_a_second_look_that_comes_to_nothing_is_no_new_beginning(lab):
    """Else a controller that is overloaded would have the password shown again and again."""
    lab.password.write_text("wrong\n")
    identity = lab.identity()
    lab.kdc.tires = True
    with pytest.raises(NotAuthenticated, match="KDC_ERR_SVC_UNAVAILABLE") as nobody:
        show(identity)
    assert nobody.value.transient
    lab.kdc.moods.clear()
    lab.kdc.tires = False
    refused(identity)
    refused(identity)
    assert lab.kdc.asked.count(PROVEN[1]) == 2


def test_a_refusal_before_anything_was_shown_does_not_count(lab):
    identity = lab.identity()
    lab.kdc.moods.add("CODE 24")
    for _ in range(3):
        refused(identity)
    lab.kdc.moods.clear()
    show(identity)


@pytest.mark.parametrize("mood", ["MUTE", "HANGS-UP", "RUBBISH", "TRAILER", "ENORMOUS", "BUSY"])
def test_who_does_not_answer_leaves_the_word_to_the_next_and_is_asked_last(lab, mood):
    with Kdc(REALM, {USER: SECRET}, [f"host/{CA}"], clock=lab.clock) as second:
        lab.kdc.moods.add(mood)
        kdcs = lab.kdcs(lab.kdc.endpoint, second.endpoint, patience=0.5 if mood == "MUTE" else 20)
        identity = lab.identity(kdcs=kdcs)
        identity.credentials("host", CA, Deadline(20))
        assert second.asked == [f"AS {USER}", f"AS {USER} proven", f"TGS host/{CA}"]
        lab.kdc.moods.clear()
        lab.kdc.asked.clear()
        identity.forget("host", CA)
        show(identity)
        assert lab.kdc.asked == []


def test_a_kdc_that_says_nothing_costs_no_more_than_the_deadline(lab):
    lab.kdc.moods.add("MUTE")
    with pytest.raises(NotAuthenticated, match="no answer in time") as refused:
        lab.identity().credentials("host", CA, Deadline(0.3))
    assert refused.value.transient
    assert "TCP 88" in refused.value.remedy


def test_a_kdc_that_is_not_there_is_named(lab):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        endpoint = "127.0.0.1:{1}".format(*gone.getsockname())
    with pytest.raises(NotAuthenticated, match=rf"{endpoint}: connection refused"):
        show(lab.identity(kdcs=lab.kdcs(endpoint)))
    with pytest.raises(NotAuthenticated, match=r"no\.such\.name\.invalid: "):
        show(lab.identity(kdcs=lab.kdcs("no.such.name.invalid")))


@pytest.mark.parametrize(
    ("mood", "told"),
    [
        ("WRONG-NONCE", "its nonce is not ours"),
        ("WRONG-KEY", "not encrypted with the key that we have"),
        ("OTHER-CLIENT", "for another client"),
        ("OTHER-SERVICE", "ticket is for host/other.lab.test"),
        ("WEAK-SESSION", "of a type that was not asked for"),
        ("SHORT-KEY", "wrong length"),
        ("NO-TIME", "a time in the reply is none"),
    ],
)
@pytest.mark.parametrize("when", ["at login", "for a service"])
def test_a_reply_that_is_not_the_one_asked_for_is_not_believed(lab, mood, told, when):
    identity = lab.identity()
    if when == "for a service":
        show(identity)
    lab.kdc.moods.add(mood)
    with pytest.raises(NotAuthenticated, match=told) as refused:
        show(identity, "cifs")
    assert "cannot be trusted" in refused.value.cause
    assert refused.value.transient
    lab.kdc.moods.clear()
    show(identity, "cifs")


def test_a_service_of_another_realm_is_refused_by_name(lab):
    lab.kdc.moods.add("REFERRAL")
    with pytest.raises(NotAuthenticated, match=r"realm ELSEWHERE\.TEST.*not followed") as refused:
        show(lab.identity())
    assert not refused.value.transient


@pytest.mark.parametrize("mood", ["FEW-ROUNDS", "MANY-ROUNDS"])
def test_nobody_chooses_how_cheap_or_how_dear_the_password_is_to_derive(lab, mood):
    lab.kdc.moods.add(mood)
    with pytest.raises(NotAuthenticated, match="rounds"):
        show(lab.identity())
    assert lab.kdc.asked == [f"AS {USER}"]


def test_an_account_that_need_not_prove_itself_gets_a_ticket_all_the_same(lab):
    lab.kdc.moods.add("NO-PREAUTH")
    show(lab.identity())
    assert lab.kdc.asked == [f"AS {USER}", f"TGS host/{CA}"]


@pytest.mark.parametrize("how", ["password", "keytab"])
def test_rc4_is_taken_only_where_there_is_nothing_else_and_told(lab, caplog, how):
    lab.kdc.moods.add("RC4-ONLY")
    login = by_keytab(USER, REALM, lab.keytab(RC4)) if how == "keytab" else None
    with caplog.at_level(logging.WARNING, "certeasy.adcs"):
        show(lab.identity(login))
    assert "no AES key" in caplog.text


def test_an_account_seen_with_aes_is_not_talked_into_rc4(lab):
    identity = lab.identity()
    show(identity)
    lab.kdc.moods.add("RC4-ONLY")
    lab.clock.pass_by(11 * HOUR)
    with pytest.raises(NotAuthenticated) as refused:
        show(identity)
    assert refused.value.code == "KDC_ERR_ETYPE_NOSUPP"


def test_a_service_without_aes_is_told(lab, caplog):
    lab.kdc.moods.add("RC4-SERVICES")
    with caplog.at_level(logging.WARNING, "certeasy.adcs"):
        assert show(lab.identity()).tgs["sessionKey"].enctype == RC4
    assert f"host/{CA} has no AES key" in caplog.text


@pytest.mark.parametrize("ahead", [400, -400])
def test_clocks_too_far_apart_are_told_with_how_far(lab, ahead):
    lab.kdc.ahead = timedelta(seconds=ahead)
    identity = lab.identity()
    told = "400 s ahead" if ahead > 0 else "400 s behind"
    with pytest.raises(NotAuthenticated, match=told) as refused:
        show(identity)
    assert refused.value.code == "KRB_AP_ERR_SKEW"
    assert identity.skew == timedelta(seconds=ahead)


def test_how_far_clocks_are_apart_is_known_from_any_login(lab):
    identity = lab.identity()
    assert identity.skew is None
    lab.kdc.ahead = timedelta(seconds=42)
    show(identity)
    assert identity.skew == timedelta(seconds=42)


def test_a_cache_is_renewed_where_nobody_else_does(lab):
    made = lab.ticket_of_the_domain(lab.identity())
    file = a_ccache(lab.at / "cache", f"{USER}@{REALM}", [made])
    identity = lab.identity(by_ccache(USER, REALM, file))
    show(identity)
    lab.clock.pass_by(8 * HOUR)
    lab.kdc.asked.clear()
    show(identity)
    assert lab.kdc.asked == ["RENEW", f"TGS host/{CA}"]
    lab.clock.pass_by(8 * HOUR)
    show(identity)  # what was renewed is renewed again, though the file's own is over by now
    assert lab.kdc.asked[2:] == ["RENEW", f"TGS host/{CA}"]


def test_a_cache_that_somebody_renews_is_read_again(lab):
    file = a_ccache(lab.at / "cache", f"{USER}@{REALM}", [lab.ticket_of_the_domain(lab.identity())])
    identity = lab.identity(by_ccache(USER, REALM, file))
    show(identity)
    lab.clock.pass_by(8 * HOUR)
    a_ccache(file, f"{USER}@{REALM}", [lab.ticket_of_the_domain(lab.identity())])
    lab.kdc.asked.clear()
    show(identity)
    assert lab.kdc.asked == [f"TGS host/{CA}"]


def test_those_who_have_a_good_ticket_do_not_wait_for_who_fetches_a_better_one(lab):
    identity = lab.identity()
    first = show(identity).tgs["KDC_REP"]
    lab.clock.pass_by(9 * HOUR)
    lab.kdc.moods.add("MUTE")
    fetching = threading.Thread(
        target=lambda: identity.credentials("host", CA, Deadline(1)), daemon=True
    )
    fetching.start()
    while not identity._lock.locked():
        pass
    assert show(identity).tgs["KDC_REP"] == first
    with pytest.raises(Late):
        identity.credentials("cifs", CA, Deadline(0.05))
    fetching.join()


def test_many_at_once_log_in_once(lab):
    identity = lab.identity()
    together = threading.Barrier(8)

    def one() -> None:
        together.wait()
        show(identity)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lab.kdc.asked == [f"AS {USER}", f"AS {USER} proven", f"TGS host/{CA}"]


def test_tickets_are_never_printed(lab):
    made = lab.ticket_of_the_domain(lab.identity())
    assert "krbtgt/LAB.TEST" in repr(made)
    assert made.session.contents.hex() not in repr(made)
    assert len(repr(made)) < 100
