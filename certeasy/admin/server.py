"""The server's side of the local socket: instructions in, answers out, in threads of its own.

(1) At most so many at once; others wait in the doorway.
(2) A message has an end, in bytes and in seconds.
(3) Whoever is at the other end is asked of the operating system: who may give instructions, and in
    whose name they are recorded.
(4) An instruction that fails harms nobody else, and leaves no trace of what was asked in the log.
"""

import threading
import time
from collections.abc import Callable

from certeasy.admin import wire
from certeasy.admin.desk import Desk
from certeasy.admin.instructions import REFUSALS
from certeasy.admin.local import Doorway
from certeasy.admin.wire import Connection
from certeasy.log import logger

AT_ONCE = 4
AGAIN = 0.5  # seconds until another attempt where no connection can be accepted
FAILED = "it failed for a reason that the server does not know; the server's log has it"

log = logger("admin")

Receive = Callable[[str], Desk]
"""Return the desk for a user of the operating system."""


class LocalDoor:
    """Answers whoever comes through the doorway."""

    def __init__(self, doorway: Doorway, receive: Receive) -> None:
        """Begin at once."""
        self._doorway = doorway
        self._receive = receive
        self._room = threading.Semaphore(AT_ONCE)
        self._closing = threading.Event()
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="admin-socket", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> bool:
        """Let nobody in any more; return whether those who are in were answered in so many
        seconds."""
        self._closing.set()
        self._doorway.close()
        self._thread.join()
        self._doorway.release()
        until = time.monotonic() + seconds
        return all(
            self._room.acquire(timeout=max(until - time.monotonic(), 0)) for _ in range(AT_ONCE)
        )

    def _run(self) -> None:
        while not self._closing.is_set():
            if not self._room.acquire(timeout=AGAIN):
                continue
            connection = self._next()
            if connection is None:
                self._room.release()
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="admin-answer", daemon=True
            ).start()

    def _next(self) -> Connection | None:
        try:
            connection = self._doorway.accept()
        except BlockingIOError:
            return None  # it hung up before it was accepted
        except OSError as error:
            if (told := error.strerror or str(error)) != self._told:
                log.error(
                    "the local socket accepts nobody at the moment: %s. Too many connections, or"
                    " too few files allowed (LimitNOFILE=, ulimit -n)?",
                    told,
                )
            self._told = told
            self._closing.wait(AGAIN)
            return None
        self._told = ""
        return connection

    def _serve(self, connection: Connection) -> None:
        try:
            wire.put(connection, self._answer(connection))
        except OSError as error:
            log.debug("whoever gave an instruction has gone: %s", error)
        finally:
            connection.close()
            self._room.release()

    def _answer(self, connection: Connection) -> bytes:
        try:
            message = wire.take(connection)
            user = connection.user()  # after that: who is sent away has said it all, and hears why
            if message is None:
                return wire.not_done("the instruction did not come through whole")
            instruction = wire.understood(message)
            result = instruction.carry_out(self._receive(user))
            log.info("an administrator's instruction was carried out: %s", _name(instruction))
            return wire.done(result)
        except REFUSALS as refusal:
            return wire.not_done(str(refusal))
        except Exception:
            # Whatever it was, the administrator is answered, and the next one finds the door open.
            log.exception("an administrator's instruction failed")
            return wire.not_done(FAILED)


def _name(instruction: object) -> object:
    return getattr(instruction, "__struct_config__").tag  # noqa: B009 - mypy does not know it
