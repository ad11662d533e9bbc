"""What can go wrong on the way to a CA and back, sorted by the one question that matters: may what
was asked for have happened?

| raised | it may have happened | what follows |
|---|---|---|
| `NotReached` | surely not | ask again, or another authority |
| `AnswerLost` | yes | find out, before anything is asked again |
| `HResult` | the method answered, in a protected reply | `codes` tells what it means |
| `Fault` | no verdict: see below | one of the first two |

A fault is what a server's RPC runtime sends in the place of an answer. Nobody protects faults, so
whoever sits on the line can write one: it says no more than a cut line does, and its code is for
people only. Which of the first two it becomes depends on what had been sent.
"""


def hexadecimal(code: int) -> str:
    """Return a code as it is written everywhere: `0x80094012`."""
    return f"0x{code & 0xFFFF_FFFF:08x}"


class WireError(Exception):
    """Something between here and the CA.

    `layer` is where it was met (`dns`, `connect`, `mapper`, `smb`, `login`, `bind`, `rpc`), which
    tells where to look. `code` is of that layer, if there was one; `cause` is a sentence for an
    operator, without any secret.
    """

    def __init__(self, layer: str, cause: str, code: int | None = None) -> None:
        number = "" if code is None else f" ({hexadecimal(code)})"
        super().__init__(f"{layer}: {cause}{number}")
        self.layer = layer
        self.cause = cause
        self.code = code


class NotReached(WireError):
    """Surely nothing was executed."""


class AnswerLost(WireError):
    """It may have been executed, and the answer did not come, or was not what was sent."""


class Fault(Exception):
    """The server's RPC runtime sent a fault, or refused a binding. Its word is nobody's."""

    def __init__(self, code: int, cause: str = "the server's RPC runtime refused") -> None:
        super().__init__(f"{cause} ({hexadecimal(code)})")
        self.code = code
        self.cause = cause


class HResult(Exception):
    """The method itself returned a code other than 0, in a protected reply."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the CA returned {hexadecimal(code)}")
        self.code = code
