"""In which words it is told that something is so, that it is over, and what is to be done."""

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct

from certeasy.notices.notice import Notice, Sender
from certeasy.notices.watching import News

TEST = "test"
LONGEST = 2000
"""Characters of a message: a CA may have a lot to say."""


class _Words(Struct, frozen=True):
    """`{subject}` and `{why}` are filled in."""

    wrong: str
    over: str
    remedy: str


WORDS: Mapping[str, _Words] = {
    "authority-sick": _Words(
        "the authority {subject} cannot be used: {why}",
        "the authority {subject} can be used again",
        "Orders wait for workers.authority-wait. /readyz has the authority's own words; 'certeasy"
        " adcs check -f config.yml' tries every step to a CA of a domain.",
    ),
    "certificate-overdue": _Words(
        "certificates were not renewed when they should have been: {why}",
        "no certificate is overdue any more: each was renewed or revoked, or has expired",
        "Look at the ACME client on these machines; 'certeasy certs list --status valid"
        " --expiring-within 30d --not-replaced -f config.yml' lists all of them.",
    ),
    "database-gone": _Words(
        "the database cannot be used: {why}",
        "the database can be used again",
        "Clients are answered 503 until it is back; what was acknowledged is not lost. Look at the"
        " database and at the line to it.",
    ),
    "journal-disk-low": _Words(
        "the journal's disk fills up: {why}",
        "there is enough room on the journal's disk again",
        "Make room, or move closed segments to an archive: with audit.min-free-bytes left, nothing"
        " is accepted any more.",
    ),
    "journal-stopped": _Words(
        "the journal cannot be written, and nothing is accepted: {why}",
        "the journal can be written again",
        "Look at the disk that audit.path is on, then at the server's log.",
    ),
    "license-ending": _Words(
        "the license has ended, or soon does: {why}",
        "the license is in order again",
        "Certificates are renewed in any case. 'certeasy license status -f config.yml' has the keys"
        " that your vendor asks for, and says what follows.",
    ),
    "own-certificate-failing": _Words(
        "the server's own certificate is not renewed: {why}",
        "the server's own certificate {subject} is renewed",
        "The one in use stays. /readyz says what failed, as it is now.",
    ),
    TEST: _Words("", "this is a test: notices arrive", "There is nothing to be done."),
}


def worded(news: News, sender: Sender, notice_id: str, now: datetime) -> Notice:
    """Return the notice that tells of something."""
    trouble = news.trouble
    words = WORDS[trouble.kind]
    form = words.wrong if news.bad else words.over
    message = _one_line(form.format(subject=trouble.subject, why=trouble.why))
    since = _told(news.since)
    still = {"continues": f" (since {since})", "more": f" (more than before; since {since})"}
    told = message + still.get(news.state, "")
    word = "OK" if news.state == "ended" else "test" if news.state == "test" else "trouble"
    return Notice(
        id=notice_id,
        at=_told(now),
        kind=trouble.kind,
        subject=_one_line(trouble.subject),
        state=news.state,
        since=since,
        message=told,
        remedy=words.remedy,
        server=sender.url,
        node=sender.node,
        text=f"Certeasy {sender.url}: {word}: {told}",
    )


def _one_line(text: str) -> str:
    """Return a text without what ends lines or moves cursors, and not too long."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= LONGEST else plain[:LONGEST] + "..."


def _told(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
