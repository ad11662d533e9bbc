"""What crosses the local socket: one message there, one back.

A message is four bytes that say how long it is, then so many bytes of JSON.

    {"v":1,"version":"0.1.0","instruction":{"do":"node-endorse",...}}
    {"answer":"done","result":{...}}      {"answer":"refused","reason":"..."}
"""

from typing import Any, Protocol, TypeVar, Union

import msgspec

from certeasy import __version__
from certeasy.admin.desk import InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.admin.known import KNOWN

PROTOCOL = 1
MOST_BYTES = 1 << 20
_LENGTH = 4

R = TypeVar("R", bound=msgspec.Struct)


class Connection(Protocol):
    """Two processes of this machine, connected. Every call ends within a bound, with OSError."""

    def receive(self, length: int) -> bytes:
        """Return so many bytes, fewer only where the other side has ended."""
        ...

    def send(self, data: bytes) -> None:
        """Return once all of it is on its way."""
        ...

    def user(self) -> str:
        """Return the operating system's user at the other end, as people know it.

        Raises PermissionError where that one may give no instructions here.
        """
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Asked(msgspec.Struct, frozen=True):
    """An instruction as it comes in; its own members are looked at once the protocol is known."""

    v: int
    version: str
    instruction: msgspec.Raw


class Done(msgspec.Struct, frozen=True, tag_field="answer", tag="done"):
    """It was carried out."""

    result: msgspec.Raw


class NotDone(msgspec.Struct, frozen=True, tag_field="answer", tag="refused"):
    """It was not; the reason is one line."""

    reason: str


_ASKED = msgspec.json.Decoder(Asked)
_INSTRUCTION: msgspec.json.Decoder[Instruction[Any]] = msgspec.json.Decoder(
    Union[KNOWN]  # noqa: UP007 - made of a tuple
)
_ANSWER = msgspec.json.Decoder(Done | NotDone)
_encode = msgspec.json.Encoder().encode


def question(instruction: Instruction[Any]) -> bytes:
    """Return an instruction as it goes out."""
    return _encode(Asked(PROTOCOL, __version__, msgspec.Raw(_encode(instruction))))


def understood(message: bytes) -> Instruction[Any]:
    """Return the instruction in a message; raises InstructionRefused where it is not one."""
    try:
        asked = _ASKED.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InstructionRefused("what came through the local socket is no instruction") from None
    try:
        if asked.v == PROTOCOL:
            return _INSTRUCTION.decode(asked.instruction)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    raise InstructionRefused(
        f"the running server ({__version__}) does not understand this command, which is of version"
        f" {asked.version[:40]!r}: use the same version for both; a server that was updated has to"
        " be restarted"
    )


def done(result: msgspec.Struct) -> bytes:
    """Return the answer that something was done."""
    return _encode(Done(msgspec.Raw(_encode(result))))


def not_done(reason: str) -> bytes:
    """Return the answer that it was not."""
    return _encode(NotDone(reason))


def result_of(instruction: Instruction[R], message: bytes) -> R:
    """Return what an answer says; raises InstructionRefused with the reason where it was a no."""
    try:
        answer = _ANSWER.decode(message)
        if isinstance(answer, Done):
            result: R = msgspec.json.decode(answer.result, type=instruction.result)
            return result
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InstructionRefused(
            "the running server's answer is not understood: it is of another version. Whether it"
            " was done, the log tells"
        ) from None
    raise InstructionRefused(answer.reason)


def put(connection: Connection, message: bytes) -> None:
    """Send a message. Raises OSError where that takes too long, ValueError if it is too long."""
    if len(message) > MOST_BYTES:
        raise ValueError(f"{len(message)} bytes are too long a message")
    connection.send(len(message).to_bytes(_LENGTH, "big") + message)


def take(connection: Connection) -> bytes | None:
    """Receive a message; None: the other side hung up before it was whole, or it is too long."""
    length = int.from_bytes(head := connection.receive(_LENGTH), "big")
    if len(head) < _LENGTH or length > MOST_BYTES:
        return None
    message = connection.receive(length)
    return message if len(message) == length else None
