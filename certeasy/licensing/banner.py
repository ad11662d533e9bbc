"""What an administrator is told about a license that is not in order: why, with both keys, and what
to type."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from certeasy.decide.license import (
    ACKNOWLEDGED,
    COLD_START,
    DEGRADED,
    EVALUATING,
    EXPIRED,
    FORCE_GRACE,
    FORCED_CAP,
    IN_GRACE,
    NO_LICENSE,
    REVOKED,
    VALID,
    Standing,
)
from certeasy.licensing.ahead import Ahead
from projections.license import License

INSTALL = (
    "Send the installation key to your vendor, and install what comes back:",
    "  certeasy license install FILE -f config.yml",
)
FORCE = (
    "Or go on for seven days more, at most three weeks after it expired:",
    "  certeasy license force-grace --confirm -f config.yml",
)
COLD = (
    "Or, where a license is on its way, begin without it, for a week:",
    "  certeasy cold-start init --plan PLAN -f config.yml",
)
EXTEND = (
    "Or let it last seven days more, at most three weeks from its beginning:",
    "  certeasy cold-start extend --confirm -f config.yml",
)
SWITCH = (
    "Configure what the plan allows, or choose another:",
    "  certeasy cold-start switch --plan PLAN -f config.yml",
)
ACKNOWLEDGE = (
    "Configure what the license allows, or install one that allows this:",
    "  certeasy license install FILE -f config.yml",
    "Or start without new servers; those that there are can renew:",
    "  certeasy license acknowledge-degraded -f config.yml",
)

SEATS = (
    "Have a license that allows more, and install it:",
    "  certeasy license install FILE -f config.yml",
    "Or revoke what a server that is gone still has, which frees its seat:",
    "  certeasy certs revoke CERTIFICATE --yes -f config.yml",
)

_REFUSED = {
    NO_LICENSE: "BOOT REFUSED: NO LICENSE",
    EXPIRED: "BOOT REFUSED: THE LICENSE HAS EXPIRED, AND ITS GRACE IS OVER",
    REVOKED: "BOOT REFUSED: THE LICENSE WAS REVOKED",
    DEGRADED: "BOOT REFUSED: CONFIGURED BEYOND THE LICENSE",
}
_RUNNING = {
    IN_GRACE: "THE LICENSE HAS EXPIRED: RUNNING IN ITS GRACE",
    FORCE_GRACE: "THE LICENSE HAS EXPIRED: RUNNING IN FORCE-GRACE",
    ACKNOWLEDGED: "CONFIGURED BEYOND THE LICENSE: NO NEW SERVERS",
    COLD_START: "PRODUCT NOT REGISTERED: COLD START",
    EVALUATING: "PRODUCT NOT REGISTERED: EVALUATION",
}


class Banner(msgspec.Struct, frozen=True):
    """A title, and lines below it; every command in them ends with `-f config.yml`."""

    title: str
    lines: tuple[str, ...]

    @property
    def one_line(self) -> str:
        """Return it for a log."""
        told = self.title
        for line in filter(None, self.lines):
            told += (" " if told.endswith(":") else "; ") + " ".join(line.split()).rstrip(".")
        return told


def of(
    found: Standing,
    row: License | None,
    installation: str,
    now: datetime,
    ahead: Ahead | None = None,
) -> Banner | None:
    """Return what there is to tell; None: all is in order. `ahead`: it would be another state if
    the log were not ahead of the clock."""
    title = _REFUSED.get(found.state) or _RUNNING.get(found.state)
    if title is None or (found.state == EVALUATING and not found.until):
        return None
    lines = [f"{reason[:1].upper()}{reason[1:]}." for reason in found.reasons]
    if found.until and found.state != ACKNOWLEDGED:
        lines.append(f"This lasts until {found.until}.")
    used = None if row is None else row.installed
    if used is not None and found.state in {IN_GRACE, FORCE_GRACE}:
        lines.append(f"It expired at {used.expires}.")
    keys = [f"Installation key  {installation}"]
    if used is not None:
        keys.append(f"License key       {used.key}")
    blocks = [lines, keys, _remedy(found, row, now)]
    if ahead is not None:
        blocks[1:1] = [_by_the_log(ahead)]
        blocks.append(_mended(ahead))
    told = [line for block in blocks if block for line in ("", *block)]
    return Banner(title, tuple(told[1:]))


def _by_the_log(ahead: Ahead) -> tuple[str, ...]:
    """Return why time is another one here than the clock's."""
    return (
        f"That is by the log's latest time, {ahead.latest}: {ahead.span}",
        f"ahead of this clock, {ahead.clock}. The first event ahead of it is",
        f"{ahead.position}, {ahead.type}, of {ahead.at}."
        if ahead.type
        else f"one from {ahead.position} on, of lines that cannot be read.",
    )


def _mended(ahead: Ahead) -> tuple[str, ...]:
    """Return what to do about it."""
    return (
        "If this clock is wrong, set it right. If the log's time is wrong, put database",
        f"and work directory back as they were before event {ahead.position}, or install a",
        "license that lasts longer than the log's time; docs/license.md tells how.",
    )


def frame(lines: Sequence[str]) -> str:
    """Return lines in a frame."""
    width = max(map(len, lines))
    edge = f"+{'-' * (width + 4)}+"
    return "\n".join([edge, *(f"|  {line:<{width}}  |" for line in lines), edge])


def advice(
    found: Standing, row: License | None, installation: str, now: datetime, *, full: bool
) -> str:
    """Return what is to be done, in one line; `full`: what is wrong is that no seat is free."""
    lines = SEATS if full and found.state == VALID else _remedy(found, row, now)
    told = "; ".join(_joined(lines))
    return told.replace("the installation key", f"the installation key {installation}", 1)


def _joined(lines: Sequence[str]) -> Iterator[str]:
    """Yield each sentence with its command."""
    for sentence, command in zip(lines[::2], lines[1::2], strict=True):
        yield f"{sentence[:1].lower()}{sentence[1:]} '{command.strip()}'"


def _remedy(found: Standing, row: License | None, now: datetime) -> tuple[str, ...]:
    licensed = row is not None and row.installed is not None
    cold = row is not None and row.cold_start is not None
    match found.state:
        case "degraded":
            return ACKNOWLEDGE if licensed else SWITCH
        case "acknowledged":
            return ACKNOWLEDGE[:2]
        case "expired":
            return (*INSTALL, *FORCE) if _can_be_forced(row, now) else INSTALL
        case "no-license" if not licensed and not cold:
            return (*INSTALL, *COLD)
        case "no-license" | "cold-start" if not licensed and _can_be_extended(row, now):
            return (*INSTALL, *EXTEND)
        case _:
            return INSTALL


def _can_be_forced(row: License | None, now: datetime) -> bool:
    used = None if row is None else row.installed
    return used is not None and now < datetime.fromisoformat(used.expires) + FORCED_CAP


def _can_be_extended(row: License | None, now: datetime) -> bool:
    cold = None if row is None else row.cold_start
    if cold is None:
        return False
    cap = datetime.fromisoformat(cold.cap)
    return now < cap and datetime.fromisoformat(cold.until) < cap
