"""Every instruction there is. One that is not named here is not understood."""

from typing import Any

from certeasy.admin.clock import AcceptClock
from certeasy.admin.eab import CreateEab, RevokeEab
from certeasy.admin.instructions import Instruction
from certeasy.admin.inventory import CloseAccount, RevokeCertificate
from certeasy.admin.journal import RotateJournal
from certeasy.admin.license import (
    AcknowledgeDegraded,
    BeginColdStart,
    ExtendColdStart,
    GrantForceGrace,
    InstallLicense,
    RefreshLicense,
    SwitchColdStart,
)
from certeasy.admin.limits import ResetLimits, ShowLimits
from certeasy.admin.nodes import EndorseNode, InviteNode, RetireNode
from certeasy.admin.privacy import EraseSubjects
from certeasy.admin.renewal import RequestRenewal

KNOWN: tuple[type[Instruction[Any]], ...] = (
    AcceptClock,
    AcknowledgeDegraded,
    BeginColdStart,
    CloseAccount,
    CreateEab,
    EndorseNode,
    EraseSubjects,
    ExtendColdStart,
    GrantForceGrace,
    InstallLicense,
    InviteNode,
    RefreshLicense,
    RequestRenewal,
    ResetLimits,
    RevokeCertificate,
    RevokeEab,
    RetireNode,
    RotateJournal,
    ShowLimits,
    SwitchColdStart,
)
