"""What follows from the license, exact to the second, and what may be done about it."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from certeasy.decide import license as deciding
from certeasy.decide import revocation
from certeasy.decide.license import (
    ACKNOWLEDGED,
    COLD_START,
    DEGRADED,
    EVALUATING,
    EXPIRED,
    FORCE_GRACE,
    IN_GRACE,
    NO_LICENSE,
    PLANS,
    REVOKED,
    STATES,
    VALID,
    Configured,
    LicenseRefused,
    Standing,
)
from certeasy.decide.problems import Problem, Refused
from events.license import LicenseRevoked
from projections.certificates import CERTIFICATES
from projections.license import UNLIMITED
from projections.tables import Contradiction
from tests.make.decided import START, World
from tests.make.stories import a_license

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
LAB = Configured("sqlite", 0, "single")
ADCS = Configured("sqlite", 1, "single")
BIG = Configured("postgres", 2, "single")
HERE = "INST-000000-000000-000000-000000-000000"
EXPIRES = START + 30 * DAY


def text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Office(World):
    """An installation and its license."""

    configured = ADCS

    def install(self, digit: str = "1", *, expires: datetime = EXPIRES, **members) -> list[str]:
        members.setdefault("issued_at", text(self.now))
        members.setdefault("not_before", text(self.now))
        fact = a_license(digit, expires=text(expires), **members)
        return self.decide(deciding.install, self.now, fact, installation=HERE)

    def standing(self, configured: Configured | None = None, *, forged: str = "") -> Standing:
        return deciding.standing(
            deciding.of(self.rows), configured or self.configured, self.now, forged=forged
        )

    @property
    def state(self) -> str:
        return self.standing().state

    def observe(self, configured: Configured | None = None) -> list[str]:
        return self.decide(deciding.observe, self.now, configured or self.configured, cause="time")

    def begin(self) -> list[str]:
        return self.decide(deciding.begin, self.now, self.configured, cause="a start")

    def acknowledge(self, configured: Configured | None = None) -> list[str]:
        return self.decide(deciding.acknowledge, self.now, configured or self.configured)

    def force(self) -> list[str]:
        return self.decide(deciding.force_grace, self.now, self.configured)

    def cold(self, plan: str = "free") -> list[str]:
        return self.decide(deciding.cold_start, self.now, self.configured, plan)

    def extend(self) -> list[str]:
        return self.decide(deciding.extend, self.now)

    def switch(self, plan: str) -> list[str]:
        return self.decide(deciding.switch, self.now, self.configured, plan)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def late() -> Office:
    """An installation whose evaluation is just over."""
    office = Office()
    office.now = START - 30 * DAY
    office.begin()
    office.now = START
    return office


# -- a license, through its times ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (START, VALID),
        (EXPIRES - SECOND, VALID),
        (EXPIRES, IN_GRACE),
        (EXPIRES + 7 * DAY - SECOND, IN_GRACE),
        (EXPIRES + 7 * DAY, EXPIRED),
        (EXPIRES + 3650 * DAY, EXPIRED),
    ],
)
def test_a_license_counts_to_its_last_moment_and_seven_days_more(office, at, state):
    assert office.install() == ["license.installed"]
    office.now = at
    assert office.state == state
    assert office.standing().serves == office.standing().admits == (state != EXPIRED)
    until = {VALID: EXPIRES, IN_GRACE: EXPIRES + 7 * DAY}.get(state)
    assert office.standing().until == ("" if until is None else text(until))


def test_every_state_is_named():
    assert len(STATES) == len(set(STATES)) == 10


def test_a_lab_without_ad_cs_needs_no_license(office):
    office.configured = LAB
    assert office.begin() == []
    assert office.standing() == Standing(EVALUATING)
    office.install()
    assert (office.state, office.standing().seats) == (VALID, 25)
    office.now += 3650 * DAY
    assert office.standing() == Standing(EVALUATING)


def test_a_start_with_ad_cs_begins_thirty_days_of_evaluation_once(office):
    assert office.standing() == Standing(EVALUATING, until=text(START + 30 * DAY))
    assert office.begin() == ["license.evaluation-begun"]
    office.now += DAY
    assert office.begin() == []
    assert office.standing() == Standing(EVALUATING, until=text(START + 30 * DAY))
    office.now = START + 30 * DAY - SECOND
    assert office.state == EVALUATING
    office.now += SECOND
    assert office.state == NO_LICENSE
    assert office.standing().reasons == ("the evaluation ended at 2026-12-02T09:00:00Z",)


def test_nothing_is_left_over_of_an_evaluation_once_there_was_a_license(office):
    office.begin()
    office.install(expires=START + DAY)
    office.now += 9 * DAY
    assert office.state == EXPIRED


def test_a_license_that_the_vendor_did_not_sign_is_none(office):
    office.install()
    assert office.standing(forged="it cannot be believed").state == NO_LICENSE
    assert office.standing(forged="it cannot be believed").reasons == ("it cannot be believed",)
    assert office.standing(LAB, forged="it cannot be believed").state == EVALUATING


def test_a_revoked_license_ends_at_once(office):
    office.install()
    gone = LicenseRevoked("1" * 26, text(START), "paid back", "block")
    assert office.decide(deciding.revoke, gone) == ["license.revoked"]
    assert office.decide(deciding.revoke, gone) == []
    assert (office.state, office.standing().reasons) == (REVOKED, ("paid back",))
    with pytest.raises(LicenseRefused, match="is not the one in use"):
        office.decide(deciding.revoke, LicenseRevoked("2" * 26, text(START), "", "block"))
    with pytest.raises(LicenseRefused, match="is not the one in use"):
        deciding.revoke(World().rows, gone)


# -- taking a license into use ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"installation": "INST-1"}, "is for the installation INST-1, this is INST-000000"),
        ({"expires": START}, "expired at 2026-11-02T09:00:00Z"),
        ({"not_before": text(START + SECOND)}, "counts from 2026-11-02T09:00:01Z on"),
    ],
)
def test_a_license_that_does_not_count_here_and_now_is_refused(office, members, why):
    with pytest.raises(LicenseRefused, match=why):
        office.install(**members)


def test_a_license_replaces_the_one_before_unless_it_is_older(office):
    office.install("1")
    assert office.install("1") == []
    with pytest.raises(LicenseRefused, match="before the one in use"):
        office.install("2", issued_at=text(START - SECOND))
    office.now += DAY
    assert office.install("2", managed_servers=3) == ["license.installed"]
    assert office.standing().seats == 3


@pytest.mark.parametrize("order", ["12", "21"])
def test_of_two_licenses_of_one_second_the_same_counts_whichever_was_installed_first(office, order):
    """The one with the greater id, which was made later: ids of one vendor sort by time."""
    same = text(office.now)
    office.now += DAY
    for digit in order:
        with suppress(LicenseRefused):
            office.install(digit, issued_at=same, managed_servers=int(digit))
    assert office.standing().seats == 2
    with pytest.raises(
        LicenseRefused, match=rf"same second .*greater id counts .{'2' * 26}, not 1"
    ):
        office.install("1", issued_at=same)
    assert office.install("2", issued_at=same) == []


def test_a_license_that_was_revoked_does_not_come_again_by_way_of_one_of_the_same_second(office):
    office.install("1", issued_at=text(START))
    office.decide(deciding.revoke, LicenseRevoked("1" * 26, text(START), "paid back", "block"))
    office.install("2", issued_at=text(START))
    with pytest.raises(LicenseRefused, match="in the same second"):
        office.install("1", issued_at=text(START))


def test_what_was_granted_for_one_license_does_not_count_for_the_next(office):
    office.install("1")
    office.now = EXPIRES + 8 * DAY
    office.force()
    office.install("2", expires=office.now + DAY)
    office.now += 8 * DAY
    assert office.state == EXPIRED


# -- beyond a license ------------------------------------------------------------------------------


def test_what_is_configured_beyond_a_license_degrades_it(office):
    office.install()
    found = office.standing(Configured("postgres", 2, "standby"))
    assert (found.state, found.serves, found.admits) == (DEGRADED, False, False)
    assert found.reasons == (
        "the database is postgres, allowed: sqlite",
        "2 AD CS authorities configured, allowed: 1",
        "the topology is standby, allowed: single",
    )
    office.install("2", databases=(), topologies=())
    assert office.standing().reasons == (
        "the database is sqlite, allowed: none",
        "the topology is single, allowed: none",
    )
    assert office.standing(LAB).state == EVALUATING


def test_an_acknowledgement_is_for_exactly_these_reasons(office):
    office.install()
    assert office.acknowledge(BIG) == ["license.acknowledged"]
    assert office.acknowledge(BIG) == []
    found = office.standing(BIG)
    assert (found.state, found.serves, found.admits) == (ACKNOWLEDGED, True, False)
    assert office.standing(Configured("postgres", 3, "single")).state == DEGRADED
    assert office.state == VALID
    office.now += SECOND
    office.install("2")
    assert office.standing(BIG).state == DEGRADED


def test_only_what_is_degraded_can_be_acknowledged(office):
    with pytest.raises(LicenseRefused, match="is not degraded, it is evaluation"):
        office.acknowledge()
    office.install()
    with pytest.raises(LicenseRefused, match="is not degraded, it is valid"):
        office.acknowledge()


def test_a_cold_start_is_not_acknowledged(late):
    late.cold()
    with pytest.raises(LicenseRefused, match="this is a cold start"):
        late.acknowledge(BIG)


def test_no_plan_allows_less_than_the_one_below():
    assert PLANS["free"].managed_servers < PLANS["starter"].managed_servers
    assert PLANS["pro"].managed_servers == PLANS["enterprise"].managed_servers == UNLIMITED
    assert [plan.authorities for plan in PLANS.values()] == [1, 2, 3, 5]
    assert deciding.beyond(PLANS["pro"], BIG) == ()
    assert deciding.beyond(deciding.WITHOUT, Configured("postgres", 99, "standby")) == ()


# -- force-grace -----------------------------------------------------------------------------------


def test_force_grace_lasts_seven_days_and_never_beyond_three_weeks(office):
    office.install()
    with pytest.raises(LicenseRefused, match="it is valid"):
        office.force()
    office.now = EXPIRES + 7 * DAY
    assert office.force() == ["license.force-grace-granted"]
    assert office.standing() == Standing(
        FORCE_GRACE, "starter", office.standing().limits, text(EXPIRES + 14 * DAY)
    )
    assert office.force() == []
    office.now = EXPIRES + 14 * DAY - SECOND
    assert office.state == FORCE_GRACE
    office.now += SECOND
    assert office.state == EXPIRED
    assert office.force() == ["license.force-grace-granted"]
    assert office.standing().until == text(EXPIRES + 21 * DAY)
    office.now += DAY
    assert office.force() == []
    office.now = EXPIRES + 21 * DAY
    assert office.state == EXPIRED
    with pytest.raises(LicenseRefused, match="until 2026-12-23T09:00:00Z, three weeks after"):
        office.force()


@pytest.mark.parametrize("days", [8, 20])
def test_force_grace_granted_late_ends_at_the_cap(office, days):
    office.install()
    office.now = EXPIRES + days * DAY
    office.force()
    assert office.standing().until == text(EXPIRES + min(days + 7, 21) * DAY)


def test_force_grace_is_for_nothing_but_an_expired_license(office):
    office.begin()
    office.now += 31 * DAY
    with pytest.raises(LicenseRefused, match="it is no-license"):
        office.force()
    office.install(expires=office.now + DAY)
    office.decide(deciding.revoke, LicenseRevoked("1" * 26, text(office.now), "why", "block"))
    office.now += 10 * DAY
    with pytest.raises(LicenseRefused, match="it is revoked"):
        office.force()


def test_force_grace_does_not_help_what_is_degraded(office):
    office.install()
    office.now = EXPIRES + 7 * DAY
    office.force()
    assert office.standing(BIG).state == DEGRADED


# -- cold start ------------------------------------------------------------------------------------


def test_a_cold_start_lasts_a_week_and_with_extensions_three(late):
    assert late.cold() == ["cold-start.initialised"]
    assert late.standing() == Standing(COLD_START, "free", PLANS["free"], text(START + 7 * DAY))
    assert late.extend() == ["cold-start.extended"]
    assert late.standing().until == text(START + 14 * DAY)
    late.now = START + 14 * DAY - SECOND
    assert late.state == COLD_START
    late.now += SECOND
    assert late.state == NO_LICENSE
    assert late.standing().reasons == ("the cold start ended at 2026-11-16T09:00:00Z",)
    late.now += DAY
    assert late.extend() == ["cold-start.extended"]
    assert late.standing().until == text(START + 21 * DAY)
    with pytest.raises(LicenseRefused, match="longer than three weeks"):
        late.extend()
    late.now = START + 21 * DAY
    assert late.state == NO_LICENSE
    with pytest.raises(LicenseRefused, match="longer than three weeks"):
        late.extend()


@pytest.mark.parametrize("at", [START, START + 30 * DAY - SECOND])
def test_a_cold_start_takes_nothing_away_from_an_evaluation(office, at):
    office.begin()
    office.now = at
    with pytest.raises(
        LicenseRefused,
        match=r"evaluation lasts until 2026-12-02T09:00:00Z, and allows everything; .* is over",
    ):
        office.cold()
    assert office.standing() == Standing(EVALUATING, until=text(START + 30 * DAY))
    office.now = START + 30 * DAY
    assert office.cold() == ["cold-start.initialised"]
    assert office.standing().until == text(START + 37 * DAY)


def test_a_cold_start_does_not_keep_an_evaluation_from_beginning(office):
    with pytest.raises(LicenseRefused, match="the next start begins one, which lasts 30 days"):
        office.cold()
    assert office.begin() == ["license.evaluation-begun"]


def test_who_needs_no_license_needs_no_cold_start(late):
    late.configured = LAB
    with pytest.raises(LicenseRefused, match="no authority of the type adcs or adcs-cli is conf"):
        late.cold()


def test_an_evaluation_counts_beside_a_cold_start_that_is_over(office):
    """A log may have one that was begun during the evaluation, by a version that allowed it."""
    office.begin()
    begun = deciding.ColdStartInitialised("free", text(START + 7 * DAY), text(START + 21 * DAY))
    office.do(deciding.Decision((("license", begun),)))
    assert office.state == COLD_START
    office.now += 8 * DAY
    assert office.state == EVALUATING
    office.now += 30 * DAY
    assert office.standing().reasons == ("the cold start ended at 2026-11-09T09:00:00Z",)


def test_a_cold_start_is_begun_once_and_only_without_a_license(late):
    late.cold()
    with pytest.raises(LicenseRefused, match="a cold start was begun at 2026-11-02T09:00:00"):
        late.cold()
    late.install()
    for attempt in (late.cold, late.extend, lambda: late.switch("pro")):
        with pytest.raises(LicenseRefused, match="there is a license"):
            attempt()


def test_a_cold_start_takes_a_plan_that_the_configuration_fits(late):
    late.configured = BIG
    with pytest.raises(LicenseRefused, match="does not fit the plan starter: the database is"):
        late.cold("starter")
    assert late.cold("pro") == ["cold-start.initialised"]
    with pytest.raises(LicenseRefused, match="does not fit the plan free"):
        late.switch("free")
    with pytest.raises(LicenseRefused, match="as under the plan pro already"):
        late.switch("pro")
    assert late.switch("enterprise") == ["cold-start.switched"]
    assert (late.standing().plan, late.standing().until) == (
        "enterprise",
        text(START + 7 * DAY),
    )
    assert late.standing(Configured("postgres", 9, "single")).state == DEGRADED
    late.now += 7 * DAY
    with pytest.raises(LicenseRefused, match="it ended at"):
        late.switch("pro")


def test_without_a_cold_start_there_is_none_to_change(office):
    for attempt in (office.extend, lambda: office.switch("pro")):
        with pytest.raises(LicenseRefused, match="there is no cold start"):
            attempt()
    office.begin()
    with pytest.raises(LicenseRefused, match="there is no cold start"):
        office.extend()


# -- what is recorded by itself --------------------------------------------------------------------


def test_every_change_of_state_is_recorded_once_with_its_cause(office):
    assert office.observe() == []
    office.begin()
    office.install()
    assert office.observe() == ["license.state-changed"]
    assert office.observe() == []
    for at, state in (
        (EXPIRES, IN_GRACE),
        (EXPIRES + 7 * DAY, EXPIRED),
    ):
        office.now = at
        assert office.observe() == ["license.state-changed"]
        assert office.observe() == []
        row = deciding.of(office.rows)
        assert row is not None
        assert row.state == state
        assert datetime.fromisoformat(row.since) == at
    assert office.observe(LAB) == ["license.state-changed"]
    assert office.observe() == ["license.state-changed"]


# -- orders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (ACKNOWLEDGED, "configured beyond its license"),
        (DEGRADED, "configured beyond its license"),
        (EXPIRED, "license has expired"),
        (REVOKED, "license was revoked"),
        (NO_LICENSE, "has no license"),
    ],
)
def test_nothing_new_is_ordered_where_the_license_does_not_allow_it(state, why):
    with pytest.raises(Refused, match=why) as refused:
        deciding.check_new(Standing(state))
    assert (refused.value.problem, refused.value.status) == (Problem.UNAUTHORIZED, 403)
    assert "certificates are renewed" in refused.value.detail


@pytest.mark.parametrize("state", [EVALUATING, COLD_START, VALID, IN_GRACE, FORCE_GRACE])
def test_new_servers_come_in_every_other_state(state):
    deciding.check_new(Standing(state))


def test_the_last_seat_is_given_and_no_more():
    limits = PLANS["free"]
    deciding.check_seat(Standing(VALID, "free", limits), 24)
    with pytest.raises(Refused, match="allows 25 managed servers") as refused:
        deciding.check_seat(Standing(VALID, "free", limits), 25)
    assert refused.value.status == 403
    deciding.check_seat(Standing(VALID, "pro", PLANS["pro"]), 1_000_000)
    none = Standing(VALID, "free", deciding.Limits(0, 1, ("sqlite",), ("single",)))
    with pytest.raises(Refused, match="allows 0 managed servers"):
        deciding.check_seat(none, 0)


# -- what cannot follow ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (
            [a_license("1"), a_license("2")],
            "replaces none, not 11111111111111111111111111",
        ),
        ([a_license("1", replaces="9" * 26)], "replaces 99999999999999999999999999, not none"),
        ([deciding.LicenseRevoked("1" * 26, "", "", "")], "which is not the license"),
        ([a_license("1"), deciding.LicenseAcknowledged("2" * 26, "", ())], "is not the license"),
        ([deciding.ForceGraceGranted("1" * 26, "", "")], "which is not the license"),
        (
            [deciding.EvaluationBegun("2026-12-02T09:00:00Z", "")] * 2,
            "an evaluation begins a second time",
        ),
        ([deciding.LicenseStateChanged("valid", "grace", "")], "state was none, not valid"),
        (
            [
                deciding.LicenseStateChanged("", "valid", ""),
                deciding.LicenseStateChanged("", "grace", ""),
            ],
            "state was valid, not none",
        ),
        ([deciding.ColdStartInitialised("free", "", "")] * 2, "begins a second time"),
        ([deciding.ColdStartExtended("")], "before any was initialised"),
        ([deciding.ColdStartSwitched("free", "pro")], "before any was initialised"),
    ],
)
def test_a_log_that_says_what_cannot_be_is_not_folded(office, facts, why):
    *before, last = facts
    for fact in before:
        office.do(deciding.Decision((("license", fact),)))
    with pytest.raises(Contradiction, match=why):
        office.do(deciding.Decision((("license", last),)))


def _revoked(office: Office, order_id: str) -> None:
    certificate = office.rows.get(CERTIFICATES, order_id)
    assert certificate is not None
    office.decide(
        revocation.by_administrator,
        certificate_id=order_id,
        sha256=certificate.sha256,
        reason=4,
        publish=False,
    )


@pytest.mark.parametrize("state", [VALID, EXPIRED])
def test_who_replaces_what_is_over_needs_a_seat_of_his_own_or_a_free_one(office, state):
    """Else whoever lets a certificate go and replaces it would be one server more than there may
    be. It is no new order: the license's state does not matter."""
    found = Standing(state, limits=PLANS["free"])
    account = office.account()
    order_id = office.issued("a.test", account=account)

    def needs(at: datetime, standing: Standing = found) -> bool:
        return deciding.needs_seat(
            office.rows,
            at,
            standing,
            account_id=account.id,
            names=("a.test", "b.test"),
            replaces=order_id,
        )

    certificate = office.rows.get(CERTIFICATES, order_id)
    end = datetime.fromisoformat(certificate.not_after)
    assert not needs(end - SECOND)
    assert needs(end)
    assert not needs(end, Standing(state)), "there are any number of seats"
    other = office.issued("c.test", account=account)
    _revoked(office, order_id)
    assert not needs(office.now), "the account has a seat by another one"
    _revoked(office, other)
    assert needs(office.now)


@pytest.mark.parametrize("state", [ACKNOWLEDGED, EXPIRED, REVOKED, NO_LICENSE])
def test_what_is_still_to_come_is_renewed_by_nobody(office, state):
    """An order at its authority for the same names is no certificate that could be renewed; one
    that is in force is, to its last fraction of a second, and whatever is on its way beside it."""
    account = office.account()
    names = ("a.test",)

    def renews(at: datetime) -> bool:
        needed = {"account_id": account.id, "names": names, "replaces": ""}
        try:
            return not deciding.needs_seat(office.rows, at, Standing(state), **needed)
        except deciding.Unlicensed:
            return False

    office.processing("a.test", account=account)
    assert not renews(office.now)
    order_id = office.issued("a.test", account=account)
    office.processing("a.test", account=account)
    certificate = office.rows.get(CERTIFICATES, order_id)
    end = datetime.fromisoformat(certificate.not_after)
    assert renews(office.now)
    assert renews(end - timedelta(microseconds=1))
    assert not renews(end)
