"""Facts about authorities: whether they could be used."""

from events.registry import Event, event


@event("authority.failed")
class AuthorityFailed(Event, frozen=True):
    """An authority that could be used cannot be used any more: orders go to the others, or wait.

    `code` is the authority's own, if it gave one.
    """

    authority: str
    reason: str
    code: str = ""


@event("authority.recovered")
class AuthorityRecovered(Event, frozen=True):
    """An authority answers again, which had failed at `failed`, RFC 3339 in UTC."""

    authority: str
    failed: str
