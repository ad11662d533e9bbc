"""Facts about what the tables need not have any more. The log keeps everything."""

from events.registry import Event, event


@event("retention.applied")
class RetentionApplied(Event, frozen=True):
    """These orders were over before `cutoff` (RFC 3339 in UTC), and so were their certificates:
    they leave the tables, with their authorizations and names.

    `revocations` are the ids of those that their authorities have published, and that leave along.
    """

    cutoff: str
    orders: tuple[str, ...]
    revocations: tuple[str, ...] = ()
