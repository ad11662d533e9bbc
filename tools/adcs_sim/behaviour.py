"""What becomes of a request: said by whoever runs the simulator, for a template or for once.

issues()                                   what a CA does when all is well
issues(after=8)                            the same, slowly
pends()                                    until an officer approves or denies it
pends(polls=3)                             until it is asked for the third time
denies(0x80094012)                         with any HRESULT
faults(0x000006BE)                         the call ends in an RPC fault
cuts(before=True)                          the line is cut, nothing was issued
cuts(at=20)                                issued, and 20 bytes of the answer reach the client
hides(4)                                   issued, says the answer (disposition 3, 4), not what
issues("other-key")                        issued, and wrong: see `Wrong`
issues(chain=40)                           issued, with 40 more certificates around it
"""

from typing import Literal

from msgspec import Struct

Then = Literal["issue", "pend", "deny", "fault"]
Cut = Literal["", "before", "after"]
Wrong = Literal[
    "",
    "other-key",
    "other-order",
    "extra-name",
    "missing-name",
    "expired",
    "not-yet-valid",
    "other-issuer",
    "no-server-auth",
    "garbage",
]
"""What is wrong with a certificate that is issued.

`other-key`: it is for the right names, and a key that nobody asked for. `other-order`: it is the
one that was issued before this one (for itself, if there was none). `other-issuer`: it is signed
by a CA of the same name and another key. `garbage`: it is no certificate at all.
"""


class Behaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of a request. The parts go together: slowly, then pending, then a cut.

    `seconds` pass before anything is decided, `late` after it and before the answer. `code` is the
    HRESULT of a denial or the status of a fault; with `result` it is the method's own return value.
    `polls`: a pending request is approved when it is asked for that often; None: by an officer
    alone. `approved_as` is what is then issued. `cut_at` bytes of the answer are still sent;
    `reset`: the line ends with a reset. `chain` certificates more come along. `hidden`: what was
    issued is not in the answer, which has this disposition.
    """

    then: Then = "issue"
    wrong: Wrong = ""
    code: int = 0
    message: str = ""
    result: bool = False
    polls: int | None = None
    approved_as: Wrong = ""
    seconds: float = 0
    late: float = 0
    cut: Cut = ""
    cut_at: int = 0
    reset: bool = False
    chain: int = 0
    days: int | None = None
    hidden: int = 0


def hides(disposition: int) -> Behaviour:
    """A certificate is issued, and the answer is without it; of a template: any answer about it."""
    return Behaviour(hidden=disposition)


def issues(
    wrong: Wrong = "", *, after: float = 0, chain: int = 0, days: int | None = None
) -> Behaviour:
    """A certificate comes back at once, or `after` so many seconds."""
    return Behaviour(wrong=wrong, seconds=after, chain=chain, days=days)


def pends(*, polls: int | None = None, then: Wrong = "") -> Behaviour:
    """Somebody has to approve it, or it is asked for that often."""
    return Behaviour(then="pend", polls=polls, approved_as=then)


def denies(code: int, message: str = "", *, result: bool = False) -> Behaviour:
    """The CA says no: with a disposition, or with the method's result."""
    return Behaviour(then="deny", code=code, message=message, result=result)


def faults(status: int) -> Behaviour:
    """The call ends in a fault, and nothing was issued."""
    return Behaviour(then="fault", code=status)


def cuts(*, before: bool = False, at: int = 0, reset: bool = False, after: float = 0) -> Behaviour:
    """The line is cut: `before` anything was issued, or in the answer `at` so many bytes."""
    which: Cut = "before" if before else "after"
    return Behaviour(cut=which, cut_at=at, reset=reset, seconds=after)
