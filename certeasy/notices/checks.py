"""What is wrong, as checks find it. One that cannot be made is no trouble, and hides no other."""

from collections.abc import Callable, Iterable, Iterator

from certeasy.log import logger
from certeasy.notices.notice import Trouble

Check = tuple[str, str, Callable[[], str | None]]
"""The kind of a trouble, what it is about, and what tells why there is one, or None."""
log = logger("notices")


def troubles(checks: Iterable[Check]) -> Iterator[Trouble]:
    """Make all checks, and yield what they find."""
    for kind, subject, check in checks:
        try:
            why = check()
        except Exception as error:  # noqa: BLE001 - of whatever kind: the others are looked at
            log.debug("%s: the check itself failed: %s", kind, error)
            continue
        if why is not None:
            yield Trouble(kind, subject, why)
