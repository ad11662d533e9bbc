"""Asking the vendor for a newer license: only where the configuration says so. docs/license.md.

    POST <license.refresh-url>  {"license":"...","license_key":"...","installation_key":"..."}
    200: a license, or what takes one back; 204: there is nothing new

Nothing is sent but these three: no name of a machine, no figure. What comes back is read like a
file from anybody: only the vendor's signature makes it a license.
"""

import msgspec

from certeasy.licensing.file import LARGEST
from certeasy.outward import Outward, Unreached, shown
from certeasy.settings import IpPolicy, LicenseSettings
from projections.license import License

OK, NOTHING_NEW = 200, 204
_HEADERS = {"Content-Type": "application/json"}


class NotRefreshed(Exception):
    """The vendor was not asked, or did not answer as it should; one line says why."""


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is sent; the first two are empty where there is no license yet."""

    license: str
    license_key: str
    installation_key: str


def question(row: License | None, installation: str) -> Question:
    """Return what the vendor is asked for an installation."""
    used = None if row is None else row.installed
    if used is None:
        return Question("", "", installation)
    return Question(used.id, used.key, installation)


def ask(settings: LicenseSettings, asked: Question) -> bytes | None:
    """Return what the vendor has for an installation; None: nothing new. Raises NotRefreshed."""
    url = settings.refresh_url
    if settings.offline or url is None:
        raise NotRefreshed(
            "the vendor is not asked: that takes license.offline: false, and license.refresh-url"
        )
    way = Outward(IpPolicy(), settings.timeout, settings.ca_file, settings.proxy_url)
    try:
        reply = way.exchange("POST", url, _HEADERS, msgspec.json.encode(asked), LARGEST)
    except Unreached as error:
        raise NotRefreshed(str(error)) from None
    if reply.status == NOTHING_NEW:
        return None
    if reply.status != OK:
        raise NotRefreshed(f"{shown(url)} answered {reply.status}")
    return reply.body
