"""A CA of a Windows domain keeps what every authority promises, with a simulated CA at the other
end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from certeasy.ca import Authority
from certeasy.ca.adcs.authority import adcs_authority
from certeasy.clock import SystemClock
from certeasy.settings import AuthoritySettings
from certeasy.settings.adcs import AdcsSettings
from tests.contracts.test_authorities import Far, FarContract, Fate
from tests.make.adcs import LabCa, a_ca
from tools.adcs_sim.behaviour import Behaviour, cuts, denies, pends

POLICY = 0x80094001
FATES: dict[Fate, Behaviour] = {
    "lost": cuts(at=20),
    "cut before": cuts(before=True),
    "pending": pends(),
    "denied": denies(POLICY, "Kurt does not want it"),
}


class SimulatedFar:
    """The simulated CA, as the contract has it."""

    def __init__(self, authority: Authority, ca: LabCa) -> None:
        self.authority = authority
        self._ca = ca

    def next(self, fate: Fate) -> None:
        self._ca.once(FATES[fate])

    def away(self, *, away: bool) -> None:
        if away:
            self._ca.drop()
            self._ca.down()
        else:
            self._ca.up()

    def approve(self) -> None:
        self._ca.approve(self._ca.requests[-1].id)

    def deny(self) -> None:
        self._ca.deny(self._ca.requests[-1].id)

    def issued(self) -> list[bytes]:
        return self._ca.issued

    def revoked(self) -> dict[str, int]:
        # The CA leaves zeros in front away; here a serial has an even number of digits.
        return {one.zfill(len(one) + len(one) % 2): why for one, why in self._ca.revoked.items()}


@contextmanager
def a_far(folder: Path, lost_answers: Literal["probe", "resubmit"]) -> Iterator[Far]:
    password = folder / "password"
    with a_ca() as ca:
        password.write_text(ca.password)
        password.chmod(0o600)
        settings = AdcsSettings(
            ca_name=ca.name,
            certificate_template="WebServer",
            host="ca1.lab.test",
            address=ca.host,
            endpoint_mapper_port=ca.mapper_port,
            transport="tcp",
            auth="ntlm",
            domain=ca.domain,
            user=ca.user,
            password_file=password,
            ca_certificates=ca.roots_file(folder),
            lost_answers=lost_answers,
        )
        chosen = AuthoritySettings(name="corp", type="adcs", configuration=settings)
        authority = adcs_authority(chosen, settings, SystemClock(), workers=6)
        yield SimulatedFar(authority, ca)
        authority.close()


class TestThatResubmits(FarContract):
    """As it is configured where nothing is said."""

    @pytest.fixture
    def far(self, tmp_path: Path) -> Iterator[Far]:
        with a_far(tmp_path, "resubmit") as far:
            yield far


class TestThatProbes(FarContract):
    """With `lost-answers: probe`."""

    @pytest.fixture
    def far(self, tmp_path: Path) -> Iterator[Far]:
        with a_far(tmp_path, "probe") as far:
            yield far
