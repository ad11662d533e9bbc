"""An instruction handed to the running server."""

from pathlib import Path
from typing import TypeVar

import msgspec

from certeasy.admin import local, wire
from certeasy.admin.desk import InstructionRefused
from certeasy.admin.instructions import Instruction

R = TypeVar("R", bound=msgspec.Struct)

UNKNOWN = (
    "whether it was done is not known: the log tells ('certeasy audit show KIND VALUE -f"
    " config.yml'), or ask again"
)


def ask(workdir: Path, instruction: Instruction[R]) -> R | None:
    """Have the server of this workdir carry an instruction out, and return what came of it.

    None: no server runs, nothing was done. Raises InstructionRefused with the server's reason, and
    OSError where it cannot be reached.
    """
    connection = local.connect(workdir, instruction.patience)
    if connection is None:
        return None
    try:
        wire.put(connection, wire.question(instruction))
        answer = wire.take(connection)
    except TimeoutError:
        raise InstructionRefused(
            f"the running server has not answered within {instruction.patience:.0f} s; {UNKNOWN}"
        ) from None
    except OSError as error:
        raise InstructionRefused(
            f"the connection to the running server broke ({error}); {UNKNOWN}"
        ) from None
    finally:
        connection.close()
    if answer is None:
        raise InstructionRefused(f"the server hung up; {UNKNOWN}")
    return wire.result_of(instruction, answer)
