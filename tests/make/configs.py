"""Configuration files: the shortest one that is in order, and what becomes of it."""

from pathlib import Path

import pytest

from certeasy.config import ConfigurationError, Mistake, load

SHORTEST = {
    "workdir": '"%CONFIGDIR%/work"',
    "server": "{url: [https://acme.corp.test], tls: false}",
    "dns-validation-profiles": "[{name: d, resolved-ip-policy: {allow-cidrs: [10.0.0.0/8]}}]",
    "authorities": "[{name: ca, type: embedded}]",
    "issuance-policies": "[{name: p, dns: {allow: [.corp.test/2]}}]",
}
"""All that a file has to say; each section is a line of its own."""


def a_file(folder: Path, text: str | bytes) -> Path:
    """Write a configuration file and return its path."""
    path = folder / "config.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def a_config(folder: Path, **changes: str | None) -> Path:
    """Write the shortest file with some sections changed (None: left out); `_` stands for `-`."""
    sections = SHORTEST | {key.replace("_", "-"): text for key, text in changes.items()}
    lines = [f"{key}: {text}\n" for key, text in sections.items() if text is not None]
    return a_file(folder, "".join(lines))


def mistakes_of(path: Path) -> tuple[Mistake, ...]:
    """Return every mistake of a file that is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value).splitlines() == [str(mistake) for mistake in caught.value.mistakes]
    return caught.value.mistakes


def only_mistake_of(path: Path) -> Mistake:
    """Return the one mistake of a file that is refused."""
    [mistake] = mistakes_of(path)
    return mistake
