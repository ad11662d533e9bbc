"""Facts about the people (accounts, addresses, administrators) that the log speaks about."""

from events.registry import Event, event


@event("subject.erased")
class SubjectErased(Event, frozen=True):
    """The key of a subject was destroyed: what was sealed under it before this line can be read by
    nobody any more.

    What is said about the subject later is sealed under another key.
    """

    subject: str
