"""Telling people that something goes wrong, before they hear of it from those whom it hurts.

What is wrong is found by looking (`Notices`), compared with what was told (`watching`), put into
words (`words`), and brought out by one thread for each way (`post`): a webhook, a mail server.
Nobody waits for any of them.

What was told is known to the process alone: after a restart, what still goes on is told again.
"""

import threading
from collections.abc import Callable, Iterable
from datetime import datetime

from certeasy.clock import Clock
from certeasy.ids import Ids
from certeasy.log import logger
from certeasy.metrics import Metrics
from certeasy.notices.notice import Notice, Sender, Trouble
from certeasy.notices.post import Channel, Outbox
from certeasy.notices.smtp import Mail
from certeasy.notices.watching import News, Watching
from certeasy.notices.webhook import Webhook
from certeasy.notices.words import TEST, worded
from certeasy.settings import NoticesSettings

__all__ = ["Notices", "Sender", "Trouble", "a_test", "channels_of"]

LOOK = 15.0
"""Seconds between two looks."""

log = logger("notices")
Look = Callable[[], Iterable[Trouble]]


def channels_of(settings: NoticesSettings, sender: Sender) -> tuple[Channel, ...]:
    """Return the ways on which notices go out."""
    policy = settings.resolved_ip_policy
    found: list[Channel] = []
    if settings.webhook is not None:
        found.append(Webhook(settings.webhook, policy))
    if settings.smtp is not None:
        found.append(Mail(settings.smtp, policy, sender))
    return tuple(found)


def a_test(sender: Sender, ids: Ids, now: datetime) -> Notice:
    """Return a notice that says that notices arrive."""
    return worded(News("test", Trouble(TEST, "", ""), now), sender, ids.new(), now)


class Notices:
    """What one node has to tell. Threads of its own look and send, once it is started."""

    def __init__(
        self,
        settings: NoticesSettings,
        look: Look,
        sender: Callable[[], Sender],
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
    ) -> None:
        """`look` returns what is wrong just now; it may take its time."""
        self._settings = settings
        self._look = look
        self._sender = sender
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._watching = Watching(settings.after, settings.repeat)
        self._outboxes: tuple[Outbox, ...] = ()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin, if there is anybody to tell and it has not begun."""
        with self._changing:
            self._open()

    def use(self, settings: NoticesSettings) -> None:
        """Tell by other settings from now on. What waits to be sent by the old ones is dropped."""
        with self._changing:
            if settings == self._settings:
                return
            self._settings = settings
            self._close(0.0)
            self._watching.follow(settings.after, settings.repeat, settings.kinds)
            self._open()

    def stop(self, wait: float = 1.0) -> None:
        """End within so many seconds, whatever is under way."""
        self._stopping.set()
        with self._changing:
            self._close(wait)
            if self._thread is not None:
                self._thread.join(wait)

    def look(self) -> None:
        """Look at what is wrong, and send what is new."""
        found = [each for each in self._look() if each.kind in self._settings.kinds]
        now = self._clock.now()
        for news in self._watching.look(found, now, self._clock.monotonic()):
            notice = worded(news, self._sender(), self._ids.new(), now)
            log.warning("%s", notice.message) if news.bad else log.info("%s", notice.message)
            for outbox in self._outboxes:
                outbox.put(notice)

    # -- threads -------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._outboxes or self._stopping.is_set():
            return
        self._outboxes = tuple(
            Outbox(channel, self._metrics.notices)
            for channel in channels_of(self._settings, self._sender())
        )
        if self._outboxes and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
            self._thread.start()

    def _close(self, wait: float) -> None:
        outboxes, self._outboxes = self._outboxes, ()
        for outbox in outboxes:
            outbox.close(wait)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK):
            try:
                self.look()
            except Exception:
                # Of whatever kind: nothing else would say so, and the next look may go well.
                log.exception("what is to be told could not be found out")
