"""A command that changes something: through the running server, or, where none runs, by itself."""

from pathlib import Path
from typing import TypeVar

import msgspec

from certeasy.admin.client import ask
from certeasy.admin.instructions import REFUSALS, Instruction
from certeasy.cli.at_rest import AtRest, check_workdir
from certeasy.cli.options import read, told
from certeasy.cluster import room
from certeasy.commit.chain import BrokenChain
from certeasy.settings import Settings

R = TypeVar("R", bound=msgspec.Struct)

refusals_told = told(*REFUSALS, BrokenChain)
"""Put under a command's options: what is refused becomes one line on stderr, and exit code 1."""


def carry_out(config_file: Path, instruction: Instruction[R]) -> R:
    """Have the configured node carry an instruction out, and return what came of it.

    Its server does if it runs, in the name of the system's user at this end. Else this process
    takes the node's locks, and commits as the node. Ends the command where the configuration is
    wrong; raises REFUSALS.
    """
    return carry_out_with(read(config_file), instruction)


def carry_out_with(settings: Settings, instruction: Instruction[R]) -> R:
    """Do as `carry_out`, with settings that were read before."""
    check_workdir(settings)
    answer = ask(settings.workdir, instruction)
    if answer is not None:
        return answer
    here = AtRest(settings)
    try:
        with room.explaining(settings):
            return instruction.carry_out(here.desk())
    finally:
        here.close()
