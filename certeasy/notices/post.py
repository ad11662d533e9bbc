"""Bringing notices out: for each way one queue and one thread, so that a mail server that hangs
holds up neither the server nor the other way.

What could not be sent is tried again a few times, in the order in which it was told; then it is
given up, and said so in the log. Of a queue that is full the newest notice is dropped: what goes on
is told again.
"""

import queue
import threading
from contextlib import suppress
from typing import Protocol

from certeasy.log import logger
from certeasy.metrics import Counter
from certeasy.notices.notice import Notice

MOST_WAITING = 50
OUTCOMES = ("sent", "failed", "dropped")
RESTS = (10.0, 60.0, 300.0, 900.0)
"""Seconds before each further attempt."""

log = logger("notices")


class NotSent(Exception):
    """A notice did not go out: one line, without a secret in it. `again`: trying may help."""

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


class Channel(Protocol):
    """A way on which notices go out."""

    @property
    def name(self) -> str:
        """What it is called: webhook, smtp."""
        ...

    def send(self, notice: Notice) -> str:
        """Bring a notice out; return what the other side said. Raises NotSent. It takes no longer
        than its timeout, or not much."""
        ...


class Outbox:
    """The notices for one channel that are on their way."""

    def __init__(
        self, channel: Channel, count: Counter, rests: tuple[float, ...] | None = None
    ) -> None:
        """`count` counts notices by channel and outcome: sent, failed, dropped."""
        self._channel = channel
        self._count = count
        for outcome in OUTCOMES:
            count.labels(channel.name, outcome)  # there from the beginning, at 0
        self._rests = RESTS if rests is None else rests
        self._waiting: queue.Queue[Notice | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"notices-{channel.name}", daemon=True
        )
        self._thread.start()

    def put(self, notice: Notice) -> None:
        """Have a notice sent. Never waits."""
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            self._note("dropped")
            log.error("%s: too many notices wait: one is dropped", self._channel.name)

    def close(self, wait: float) -> None:
        """Send nothing any more; wait so many seconds for what is being sent."""
        self._closing.set()
        with suppress(queue.Full):  # then it looks around after the next notice
            self._waiting.put_nowait(None)
        self._thread.join(wait)

    def _run(self) -> None:
        while (notice := self._waiting.get()) is not None and not self._closing.is_set():
            self._note("sent" if self._bring(notice) else "failed")

    def _bring(self, notice: Notice) -> bool:
        """Send a notice, if need be at the last attempt; return whether it went out."""
        name = self._channel.name
        for rest in (*self._rests, None):
            try:
                said = self._channel.send(notice)
            except NotSent as error:
                if rest is None or not error.again:
                    log.error("%s: a notice is not sent: %s", name, error)
                    return False
                log.warning("%s: a notice is not sent yet: %s", name, error)
                if self._closing.wait(rest):
                    return False
            except Exception:
                # Whatever a channel met, this one notice is lost: the thread goes on with the next.
                log.exception("%s: a notice is not sent", name)
                return False
            else:
                log.info("%s: a notice (%s, %s): %s", name, notice.kind, notice.state, said)
                return True
        return False

    def _note(self, outcome: str) -> None:
        self._count.labels(self._channel.name, outcome).inc()
