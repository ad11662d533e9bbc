"""Windows' access lists as text: whom one lets in, read on any system."""

import pytest

from certeasy.cluster import sddl
from certeasy.cluster.sddl import READ, WRITE

SERVICE = "S-1-5-80-2296494863-379631696-4094585463-2924667421-3592631140"
OF_A_FILE = "O:BAG:DUD:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;{})"


def test_owner_system_and_administrators_are_no_strangers():
    text = (
        "O:S-1-5-21-1-2-3-1104G:DUD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;;FA;;;S-1-5-21-1-2-3-1104)"
    )
    assert sddl.owner(text) == "S-1-5-21-1-2-3-1104"
    assert sddl.strangers(text, (), READ | WRITE) == []


def test_somebody_else_is_a_stranger_unless_he_is_known():
    text = OF_A_FILE.format(SERVICE)
    assert sddl.strangers(text, (), READ | WRITE) == [SERVICE]
    assert sddl.strangers(text, [SERVICE], READ | WRITE) == []


def test_who_may_read_may_not_write():
    text = OF_A_FILE.format("WD")
    assert sddl.strangers(text, (), READ) == ["Everyone"]
    assert sddl.strangers(text, (), WRITE) == []


@pytest.mark.parametrize("rights", ["FA", "GA", "FW", "WD", "WO", "SD", "0x40000000", "0x2"])
def test_whoever_changes_data_list_owner_or_name_writes(rights: str):
    text = f"O:BAD:(A;;{rights};;;AU)"
    assert sddl.strangers(text, (), WRITE) == ["Authenticated Users"]


@pytest.mark.parametrize("text", ["O:BAG:BA", "O:BAD:NO_ACCESS_CONTROL", "O:BAD:P(A;;FA;;;WD)"])
def test_no_list_at_all_lets_everyone_in(text: str):
    assert sddl.strangers(text, (), READ) == ["Everyone"]


def test_an_empty_list_lets_nobody_in():
    assert list(sddl.allowed("O:BAD:P")) == []


def test_what_is_forbidden_takes_nothing_away_and_conditions_count_as_met():
    text = "O:BAD:(D;;FA;;;BU)(XA;;FR;;;BU;(@User.clearance == 1))(A;ID;FR;;;BG)"
    assert sddl.strangers(text, (), READ) == ["Users", "Guests"]


def test_what_a_folder_passes_on_counts():
    text = "O:BAD:(A;OICIIO;FR;;;BU)(A;OICIIO;GA;;;CO)"
    assert sddl.strangers(text, (), READ) == ["Users"]


def test_a_private_list_inherits_nothing_and_lets_in_who_is_named():
    text = sddl.private(["S-1-1-2", "S-1-1-2"], [SERVICE], folder=True)
    assert text == (
        f"D:P(A;OICI;FA;;;S-1-5-18)(A;OICI;FA;;;S-1-5-32-544)(A;OICI;FA;;;S-1-1-2)"
        f"(A;OICI;FRFX;;;{SERVICE})"
    )
    assert sddl.strangers(text, ["S-1-1-2"], WRITE) == []
    assert sddl.strangers(text, ["S-1-1-2"], READ) == [SERVICE]
    assert "OICI" not in sddl.private([], folder=False)


def test_a_services_account_has_the_sid_that_windows_makes_of_its_name():
    known = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    assert sddl.sid_of_service("TrustedInstaller") == known
    assert sddl.sid_of_service("certeasy") == SERVICE
