"""What of a changed configuration a running node can take into use, and what waits for its next
start."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from certeasy.config import checks
from certeasy.config.mistakes import Page, quoted
from certeasy.config.redaction import redacted
from certeasy.settings import Settings

RELOADED = (
    "logs",
    "dns_validation_profiles",
    "authorities",
    "issuance_policies",
    "policy_bindings",
    "rate_limiting",
    "profiles",
    "default_profile",
    "license",
    "notices",
)
"""What a running node reads again: what is issued, by whom, to whom and how often; what is logged;
who is told."""


def taken_over(used: Settings, found: Settings, page: Page) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings in use with what can be taken over of those found, and the keys of the
    others that differ.

    ConfigurationError: what would be taken over does not fit what stays, such as a bundle for a
    host that is new.
    """
    settings = replace(used, **{name: getattr(found, name) for name in RELOADED})
    before, after = redacted(used), redacted(found)
    waiting = sorted(
        key
        for key in before.keys() | after.keys()
        if key.replace("-", "_") not in RELOADED and before.get(key, UNSET) != after.get(key, UNSET)
    )
    for key, what in _mistakes(used, settings, page.file):
        page.add(key, what)
    page.raise_if_wrong()
    return settings, tuple(waiting)


def differing(
    used: Mapping[str, object], found: Settings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys whose values differ between settings in use, as `redacted` has them, and
    those found: of what a running node reads again, and of what waits for its next start."""
    again, waiting = set[str](), set[str]()
    after = redacted(found)
    for name in used.keys() | after.keys():
        keys = again if name.replace("-", "_") in RELOADED else waiting
        keys.update(_apart(name, used.get(name, UNSET), after.get(name, UNSET)))
    return tuple(sorted(again)), tuple(sorted(waiting))


def _apart(key: str, before: object, after: object) -> Iterator[str]:
    """Yield the keys, down to a section's own, whose values differ."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        if before != after:
            yield key
        return
    for name in before.keys() | after.keys():
        yield from _apart(f"{key}.{name}", before.get(name, UNSET), after.get(name, UNSET))


def _mistakes(used: Settings, settings: Settings, file: Path) -> Iterator[tuple[str, str]]:
    """Yield key and text of each; the file's own keys are no measure for what stays."""
    mixed = Page(file)
    checks.check(settings, mixed)
    for mistake in mixed.mistakes:
        yield mistake.key, f"{mistake.what} (with what stays until the next start)"
    known = {each.name for each in used.authorities if each.embedded is not None}
    for index, each in enumerate(settings.authorities):
        if each.embedded is not None and each.name not in known:
            what = "is embedded and new: its keys are made at the next start only"
            yield f"authorities[{index}].name", f"{quoted(each.name)} {what}"
