"""What is wrong is found by checks that do not stand in each other's way."""

from certeasy.notices import Trouble
from certeasy.notices.checks import troubles


def _breaks() -> str | None:
    raise ZeroDivisionError


def test_a_check_that_cannot_be_made_is_no_trouble_and_hides_no_other() -> None:
    found = troubles(
        [
            ("database-gone", "", lambda: None),
            ("authority-sick", "ca", _breaks),
            ("journal-disk-low", "", lambda: "10 bytes are free"),
        ]
    )
    assert list(found) == [Trouble("journal-disk-low", "", "10 bytes are free")]
