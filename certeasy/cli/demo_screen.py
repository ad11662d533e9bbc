"""What the demo shows: numbered steps as they begin, and under each the events that it left.

Colours where there is a terminal, plain text where there is none. Lines are never broken, so that
what is meant to be pasted stays in one piece; and ASCII only, which every terminal can show.
"""

import re
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from events.envelope import Record

# Our own ids, and UUIDs.
LONG_ID = re.compile(
    r"[0-9a-v]{20}([0-9a-v]{6})|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{6}([0-9a-f]{6})"
)


class Screen:
    """Where the story is told."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0
        self._rows = 0

    def say(self, text: str = "", style: str = "") -> None:
        """Print one line as it is."""
        self._console.print(Text(text, style), soft_wrap=True)

    def step(self, text: str) -> None:
        """Begin a step."""
        self._steps += 1
        self.say()
        self.say(f"{self._steps}. {text}", "bold")

    def found(self, what: str, value: str) -> None:
        """Print something to be kept: where it is, how it is called."""
        self._console.print(Text.assemble(f"  {what:13}", (value, "cyan")), soft_wrap=True)

    def command(self, what: str, line: str) -> None:
        """Print a line to be pasted into a shell, on a line of its own."""
        self.say()
        self.say(f"  {what}:", "dim")
        self.say(line, "cyan")

    def events(self, records: Iterable[Record]) -> None:
        """Print a row for each event: position, type, stream, actor."""
        for record in records:
            if not self._rows:
                self.say(columns("position", "event", "stream", "actor"), "dim")
            self._rows += 1
            self._console.print(row(record), soft_wrap=True)


def columns(position: str, kind: str, stream: str, actor: str) -> str:
    """Return a row of the table of events."""
    return f"  {position:>8}  {kind:26}  {stream:19}  {actor}"


def row(record: Record) -> Text:
    """Return an event as it is shown, ids cut to their ends, which differ most."""
    line, actor = record.envelope, record.actor
    who = "/".join(part for part in (actor.kind, short(actor.id)) if part)
    text = Text(columns(str(line.position), line.type, short(line.stream), who))
    text.highlight_words([line.type], "green")
    return text


def short(text: str) -> str:
    """Return a stream or an actor with long ids cut to their last six characters."""
    return LONG_ID.sub(lambda found: f"..{found[1] or found[2]}", text)
