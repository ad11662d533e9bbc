"""The session of docs/license.md is what happens: every banner and every refusal of the license."""

from pathlib import Path

from tests.make.checks import check_node
from tests.make.license_session import PAGE, blocks, played

TITLES = (
    "PRODUCT NOT REGISTERED: EVALUATION",
    "PRODUCT NOT REGISTERED: COLD START",
    "BOOT REFUSED: NO LICENSE",
    "BOOT REFUSED: THE LICENSE HAS EXPIRED",
    "BOOT REFUSED: THE LICENSE WAS REVOKED",
    "BOOT REFUSED: CONFIGURED BEYOND THE LICENSE",
    "THE LICENSE HAS EXPIRED: RUNNING IN ITS GRACE",
    "THE LICENSE HAS EXPIRED: RUNNING IN FORCE-GRACE",
    "CONFIGURED BEYOND THE LICENSE: NO NEW SERVERS",
    "its signature is not the vendor's",
    "is for the installation INST-",
    "it was altered",
)


def test_what_the_page_shows_is_what_happens(tmp_path: Path) -> None:
    """After a deliberate change: `python -m tests.make.license_session` prints the page anew."""
    parts = blocks(PAGE.read_text(encoding="utf-8"))
    assert played(parts, tmp_path) == parts
    assert [title for title in TITLES if title not in "".join(parts)] == []
    check_node(tmp_path / "work")
