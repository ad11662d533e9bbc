"""Instructions: what an administrator may have done on a node, whether its server runs or not.

An instruction is one struct: what was asked for, what comes back, and how it is carried out.

    class Greeted(msgspec.Struct, frozen=True):
        done: bool

    class Greet(Instruction[Greeted], frozen=True, tag="greet"):
        whom: str

        result: ClassVar = Greeted

        def carry_out(self, desk: Desk) -> Greeted:
            committed = desk.commit(lambda rows, now: decide.greet(rows, now, self.whom))
            return Greeted(done=committed is not None)

It is put into `certeasy.admin.known.KNOWN`, and a command gives it with

    greeted = carry_out(config_file, Greet("everybody"))        # certeasy.cli.administration

which hands it to the running server through the local socket, or, where none runs, takes the
node's locks and calls `carry_out` itself. What it does must therefore need no more than `Desk` has:
`commit` makes a change in the administrator's name; `desk.office` has the store, the secrets, the
clock. (A decider that must see what the committer sees gets it: `commit` decides under its lock.)

What may not be is raised (`desk.InstructionRefused`, or any other of `REFUSALS`): its text is told
to the administrator as it is, in either case. What is asked and what comes back crosses a socket:
both are bounded (`wire.MOST_BYTES`), and neither is ever logged.
"""

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.cluster.refusal import BootRefused
from certeasy.commit import PoisonousCommand, Unavailable
from certeasy.decide.eab import EabRefused
from certeasy.decide.license import LicenseRefused
from certeasy.decide.nodes import NodeRefused
from certeasy.decide.problems import Refused
from certeasy.store import DatabaseUnavailable

R = TypeVar("R", bound=msgspec.Struct)

REFUSALS = (
    BootRefused,
    DatabaseUnavailable,
    EabRefused,
    InstructionRefused,
    LicenseRefused,
    NodeRefused,
    OSError,
    PoisonousCommand,
    Refused,
    Unavailable,
)
"""What stands for "no, because": one line, told to the administrator."""


class Instruction(
    msgspec.Struct, Generic[R], frozen=True, forbid_unknown_fields=True, tag_field="do"
):
    """Something an administrator wants done; its tag is its name, on the wire and in the log."""

    result: ClassVar[type[Any]]
    """The struct that comes back."""
    patience: ClassVar[float] = 60.0
    """Seconds that whoever asked waits for the answer."""

    def carry_out(self, desk: Desk) -> R:
        """Do it, and return what came of it; raises one of REFUSALS where it may not be done."""
        raise NotImplementedError
