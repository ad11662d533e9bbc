"""Instructions about people: to destroy the keys under which something is sealed about them."""

import re
from typing import ClassVar

import msgspec

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.commit import erasure

MOST = 5000  # subjects in one instruction
_SUBJECT = re.compile("(account|administrator)/[!-~]{1,100}")


class Erased(msgspec.Struct, frozen=True):
    """It is done."""


class EraseSubjects(Instruction[Erased], frozen=True, tag="privacy-erase"):
    """Destroy the keys of subjects. Without any: look again whether those destroyed are gone."""

    result: ClassVar = Erased
    patience: ClassVar = 3600.0  # the whole file may have to be written anew

    subjects: tuple[str, ...]

    def carry_out(self, desk: Desk) -> Erased:
        """Do it; afterwards nothing is sealed under the old keys any more."""
        office = desk.office
        if office.store.server(office.server_id) is None:
            raise InstructionRefused(
                f"node {office.server_id} of {office.settings.workdir} has never run: start it"
                " once, or run this with the configuration of a node that has"
            )
        if not self.subjects:
            office.store.scrub((), anew=True)  # the first time may have been cut short
            return Erased()
        for subject in self.subjects:
            if not _SUBJECT.fullmatch(subject):
                raise InstructionRefused(f"{subject!r} is no subject that has a key")
        erasure.erase(
            office.committer(),
            office.store,
            office.ids,
            desk.actor,
            self.subjects,
            actor_key=desk.actor_key,
            kept=office.subjects,
        )
        return Erased()
