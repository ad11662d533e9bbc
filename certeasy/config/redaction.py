"""The settings as they may be shown and recorded: every key with its value, secrets left out."""

import re
from datetime import timedelta
from hashlib import sha256
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import fields

from certeasy.config.forms import duration_text
from certeasy.settings import Settings, WebhookSettings

HIDDEN = "(secret)"

Plain = str | int | bool | None | list["Plain"] | dict[str, "Plain"]

_SECRET = re.compile(r"(^|_)(password|passphrase|secret|token|dsn)$")


def redacted(settings: Settings) -> dict[str, Plain]:
    """Return the settings with the names and forms of the file, secrets hidden, paths as they are.

    The place of the file itself is left out: moving it changes no setting.
    """
    return _section(msgspec.structs.replace(settings, source=None))


def fingerprint(settings: Settings) -> str:
    """Return the SHA-256 (hex) of what `redacted` returns, as JSON with sorted members.

    Of the redacted form, so that nobody can find a short secret by trying.
    """
    return sha256(msgspec.json.encode(redacted(settings), order="sorted")).hexdigest()


def _section(section: msgspec.Struct) -> dict[str, Plain]:
    """Return one struct as key -> value; what is not set is left out."""
    shown: dict[str, Plain] = {}
    for field in fields(section):
        value = getattr(section, field.name)
        if value is not None:
            shown[field.encode_name] = HIDDEN if _SECRET.search(field.name) else _plain(value)
    if isinstance(section, WebhookSettings):
        # Where it leads to may be told; many services have a secret in the rest.
        parts = urlsplit(section.url)
        shown["url"] = f"{parts.scheme}://{parts.netloc}/{HIDDEN}"
    return shown


def _plain(value: object) -> Plain:
    """Return a value of the settings as JSON has it."""
    match value:
        case msgspec.Struct():
            return _section(value)
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case timedelta():
            return duration_text(value)
        case bool() | int() | str():
            return value
        case _:
            return str(value)
