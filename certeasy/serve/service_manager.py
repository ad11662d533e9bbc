"""What Windows' service manager is told: how the server is, again and again while that changes.

| state | when | what the manager may ask for |
|---|---|---|
| start pending | the server starts; the checkpoint grows with each turn | the end |
| running, waiting | the start takes long: no database, or a long log to be read | the end |
| running | clients are served | the end, another look at the settings |
| stop pending | the end has begun; the checkpoint grows with each turn | nothing |
| stopped | it is over; after a code other than 0 Windows starts it again | nothing |

The manager sends no stop to a service whose start is pending, and starts others after it: so a
start that waits is a running service after a while. A stop that takes longer than the settings
allow is cut off, as systemd does it.

Nothing here is Windows' own: who makes one says how a status is told, and what time it is.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from typing import NamedTuple

EVERY = 1.0
"""Seconds between two turns."""
HINT = 30_000
"""Milliseconds within which the manager hears of us again, as it is told."""
LONGEST_START = 120.0
"""Seconds after which a start that goes on is told as a running service that waits."""


class State(IntEnum):
    """How a service is, as Windows counts it (SERVICE_STATUS)."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4


STOP, SHUTDOWN, PARAMCHANGE, PRESHUTDOWN = 0x1, 0x4, 0x8, 0x100
"""What a service may be asked for: SERVICE_ACCEPT_..."""
_THE_END = STOP | PRESHUTDOWN
_PENDING = (State.START_PENDING, State.STOP_PENDING)
_ENDING = (State.STOP_PENDING, State.STOPPED)


class Status(NamedTuple):
    """What the manager is told at once."""

    state: State
    accepted: int
    code: int = 0
    checkpoint: int = 0
    hint: int = 0


class ServiceManager:
    """The manager, as the node knows it. Used by several threads.

    `tell` passes a status on. `now` is the time of the start, in seconds on a clock that `turn` is
    told the time of, too.
    """

    def __init__(self, tell: Callable[[Status], None], now: float) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._begun = now
        self._patience = timedelta(minutes=1)
        self._cut_off: float | None = None
        self._told = Status(State.START_PENDING, _THE_END, checkpoint=1, hint=HINT)
        tell(self._told)

    def allow(self, longest_stop: timedelta) -> None:
        """Say how long a stop may take."""
        with self._lock:
            self._patience = longest_stop

    def ready(self) -> None:
        """Clients are served."""
        with self._lock:
            if self._told.state not in _ENDING:
                self._become(Status(State.RUNNING, _THE_END | PARAMCHANGE))

    def alive(self, turns: int) -> None:
        """The manager has no watchdog."""

    def stopping(self) -> None:
        """The end has begun."""
        with self._lock:
            if self._told.state not in _ENDING:
                self._become(Status(State.STOP_PENDING, 0, checkpoint=1, hint=HINT))

    def stopped(self, code: int = 0) -> None:
        """It is over. Said once: the manager takes our handle back then."""
        with self._lock:
            if self._told.state != State.STOPPED:
                self._become(Status(State.STOPPED, 0, code))

    def again(self) -> None:
        """Tell what was told last: the manager asks."""
        with self._lock:
            if self._told.state != State.STOPPED:
                self._tell(self._told)

    def turn(self, now: float) -> bool:
        """Tell that what is pending goes on. Return whether there is time left for it: if not, the
        process is to be ended."""
        with self._lock:
            told = self._told
            if told.state == State.START_PENDING and now - self._begun > LONGEST_START:
                self._become(Status(State.RUNNING, _THE_END))
            elif told.state in _PENDING:
                self._become(told._replace(checkpoint=told.checkpoint + 1))
            if told.state != State.STOP_PENDING:
                return True
            if self._cut_off is None:
                self._cut_off = now + self._patience.total_seconds()
            return now <= self._cut_off

    def _become(self, status: Status) -> None:
        self._told = status
        self._tell(status)


def is_waiting(state: int, accepted: int) -> bool:
    """Tell whether a service that is running serves no clients yet."""
    return state == State.RUNNING and not accepted & PARAMCHANGE
