"""What the CSRs of real clients contain, and what becomes of them. Pitfalls 35 to 37."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from certeasy.decide import csr
from certeasy.decide.problems import Problem, Refused
from certeasy.settings import CsrRules, SignatureRules
from tests.make import client_csrs as by
from tests.make.csrs import a_csr, a_raw_csr, asking_for, cn, raw_cn, raw_san

NAME, OTHER, IP = "web.corp.test", "mail.corp.test", "192.0.2.7"
PLAIN = CsrRules()
STAPLE = CsrRules(must_staple=True)


def taken(
    der: bytes, *names: str, rules: CsrRules = PLAIN, copied: bool = False
) -> csr.CertificateRequest:
    request = csr.parse(der)
    csr.check(request, names or (NAME, OTHER), SignatureRules(), rules, copied=copied)
    return request


def refusal(do: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refused:
        do()
    assert refused.value.problem is Problem.BAD_CSR
    return refused.value.detail


def test_pitfall_37_the_csr_of_certbot_is_taken() -> None:
    """Pitfall 37: no subject, a SAN."""
    request = taken(by.by_certbot(NAME, OTHER), copied=True)
    assert request.subject == ()
    taken(by.by_certbot(NAME, IP), NAME, IP, copied=True)


def test_pitfall_37_must_staple_of_certbot_is_the_policys_choice() -> None:
    """Pitfall 37: the TLS feature extension (RFC 7633)."""
    der = by.by_certbot(NAME, OTHER, must_staple=True)
    assert "must-staple), which the policy does not take" in refusal(lambda: taken(der))
    taken(der, rules=STAPLE, copied=True)


def test_pitfall_37_the_csr_of_lego_and_traefik_is_taken() -> None:
    """Pitfall 37: a common name, a SAN."""
    assert taken(by.by_lego(NAME, OTHER), copied=True).common_names == (NAME,)


def test_pitfall_37_the_csr_of_caddy_is_taken() -> None:
    """Pitfall 37: no subject, a SAN."""
    taken(by.by_caddy(NAME, OTHER), copied=True)


def test_pitfall_37_the_csr_of_simple_acme_is_taken() -> None:
    """Pitfall 37: a common name, a SAN."""
    taken(by.by_simple_acme(NAME, OTHER), copied=True)


def test_pitfall_37_the_csr_of_acme_sh_is_taken(tmp_path: Path) -> None:
    """Pitfall 37: clientAuth is asked for by every one of them, and not given."""
    der = by.by_acme_sh(tmp_path, NAME, OTHER)
    taken(der, copied=True)
    taken(der, rules=CsrRules(allowed_extra_eku=("clientAuth",), ignored_eku=()))
    strict = CsrRules(ignored_eku=())
    assert "1.3.6.1.5.5.7.3.2 (clientAuth), which the policy" in refusal(
        lambda: taken(der, rules=strict)
    )


def test_pitfall_37_must_staple_of_acme_sh_is_the_policys_choice(tmp_path: Path) -> None:
    """Pitfall 37: beside basic constraints with CA:FALSE."""
    der = by.by_acme_sh(tmp_path, NAME, OTHER, must_staple=True)
    assert "must-staple" in refusal(lambda: taken(der))
    taken(der, rules=STAPLE)


def test_pitfall_37_the_csr_of_acme_sh_for_an_address_has_an_organisation(tmp_path: Path) -> None:
    """Pitfall 37: `O=acme.sh`, which is passed over unless the authority would copy it."""
    der = by.by_acme_sh(tmp_path, IP)
    taken(der, IP)
    assert "subject has O='acme.sh', and the CA would copy it" in refusal(
        lambda: taken(der, IP, copied=True)
    )
    taken(der, IP, rules=CsrRules(subject="ignore"), copied=True)
    assert "subject has O='acme.sh', and the policy takes only CN" in refusal(
        lambda: taken(der, IP, rules=CsrRules(subject="refuse"))
    )


def test_pitfall_37_the_csr_of_posh_acme_is_taken() -> None:
    """Pitfall 37: basic constraints with CA:FALSE, a critical key usage, a key identifier."""
    taken(by.by_posh_acme(NAME, OTHER), copied=True)


@pytest.mark.parametrize("common_name", [False, True])
@pytest.mark.parametrize("usages", [False, True])
def test_pitfall_37_the_csr_of_cert_manager_is_taken(common_name: bool, usages: bool) -> None:
    """Pitfall 37: a critical SAN where the subject is empty, a key usage, perhaps an EKU."""
    der = by.by_cert_manager(NAME, OTHER, common_name=common_name, usages=usages)
    request = taken(der, copied=True)
    san = next(each for each in request.extensions if each.oid.dotted_string == by.SAN)
    assert san.critical is not common_name


def test_pitfall_37_a_csr_made_by_hand_is_taken_where_nobody_copies_its_subject(
    tmp_path: Path,
) -> None:
    """Pitfall 37: any distinguished name."""
    der = by.by_hand(tmp_path, NAME, OTHER)
    taken(der)
    said = refusal(lambda: taken(der, copied=True))
    assert said == "The CSR's subject has C='DE', and the CA would copy it; leave it out"


def test_pitfall_35_a_common_name_without_a_san_counts_as_a_name_of_the_order() -> None:
    """Pitfall 35: legal by RFC 8555 section 7.4; where it is copied, the SAN has to be there."""
    alone = a_csr(subject=cn(NAME))
    taken(alone, NAME)
    assert "in its subject alternative name (SAN)" in refusal(
        lambda: taken(alone, NAME, copied=True)
    )
    assert "common name 'web.corp.test' is not in the order" in refusal(lambda: taken(alone, OTHER))


def test_pitfall_36_a_common_name_may_be_missing_but_not_empty_and_no_address() -> None:
    """Pitfall 36."""
    taken(by.by_certbot(NAME), NAME)
    empty = a_raw_csr(asking_for(raw_san(NAME)), subject=raw_cn(by.UTF8, b""))
    assert "common name (CN) with an empty value; leave CN out" in refusal(
        lambda: taken(empty, NAME)
    )
    address = a_csr(NAME, subject=cn(IP))
    assert "IP address 192.0.2.7 as common name (CN)" in refusal(lambda: taken(address, NAME))


def test_a_policy_may_refuse_common_names() -> None:
    none = CsrRules(common_name="refuse")
    taken(by.by_caddy(NAME), NAME, rules=none)
    said = refusal(lambda: taken(by.by_lego(NAME), NAME, rules=none))
    assert said == (
        "The CSR has the common name 'web.corp.test'; the policy takes none, so leave CN out"
    )
    for kept in ("keep", "fill"):
        taken(by.by_lego(NAME), NAME, rules=replace(none, common_name=kept))
