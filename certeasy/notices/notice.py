"""What is wrong, and what is told of it."""

from typing import Literal

import msgspec

State = Literal["begun", "more", "continues", "ended", "test"]
"""`more`: it goes on, and more is affected than was told."""


class Trouble(msgspec.Struct, frozen=True):
    """One thing that is wrong: its kind, what it is about (a name, or nothing), and why, in words.

    `facts` are what it is made of, where that may grow: a new one is told, too.
    """

    kind: str
    subject: str
    why: str
    facts: frozenset[str] = frozenset()


class Sender(msgspec.Struct, frozen=True):
    """Who tells: the server's URL, and the id of its node (empty while there is none)."""

    url: str
    node: str = ""


class Notice(msgspec.Struct, frozen=True):
    """What is told, in the form in which a webhook gets it.

    `id` is new for each; `kind` and `subject` tell what it is about, `state` what became of it
    `since` when. `text` is all of it in one line, for chats that know no other member.
    """

    id: str
    at: str
    kind: str
    subject: str
    state: State
    since: str
    message: str
    remedy: str
    server: str
    node: str
    text: str

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)
