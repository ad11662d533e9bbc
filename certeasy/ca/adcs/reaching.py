"""What goes wrong on the way to a CA: the codes of RPC and of Windows' logon, and what to do.

They come before the CA has a say (`codes` has what that says). Nobody protects them, so they decide
nothing: what they mean is for people. Sources: [MS-ERREF] 2.2 and 2.3, C706 appendix E.
"""

from collections.abc import Mapping

from msgspec import Struct

from certeasy.ca.adcs import refusals
from certeasy.ca.adcs.errors import WireError, hexadecimal
from certeasy.ca.adcs.kdc import KdcRefused


class Obstacle(Struct, frozen=True):
    """A code: its symbol, a cause, and a remedy for an administrator, a sentence each."""

    symbol: str
    cause: str
    remedy: str


LAYERS: Mapping[str, str] = {
    "dns": "correct the name, or have this machine ask the domain's DNS servers",
    "connect": "look whether that machine runs, CertSvc on it, and at the firewall before it",
    "mapper": "look whether CertSvc runs on that host, and at certutil -getreg CA\\InterfaceFlags"
    " (IF_NORPCICERTREQUEST)",
    "smb": "look whether the account may log on over the network there, or use transport: tcp",
    "login": "look at the account, its secret, and the clocks",
    "bind": "look at the account, its secret, and whether CertSvc runs on that host",
    "rpc": "look at the account, its secret, the clocks, and the security log of the CA",
    "dcom": "look at the ports of the CA (135, 49152-65535), and at the group Certificate Service"
    " DCOM Access there",
}
"""Where to look where there is no code, or none that is known."""

_ACCOUNT = "look at the account in Active Directory"
_LOGON = "give the account the right `Access this computer from the network` on the CA's machine"
_FEWER = "ask again later, or set fewer workers.workers"
_EVENTS = "look at the CA's event log (source CertificationAuthority)"
_WRONG_KEY = "look at the password or keytab, which is not that of the account"
_DCOM = "put the account into the group Certificate Service DCOM Access on the CA's machine"

OBSTACLES: Mapping[int, Obstacle] = {
    0x00000005: Obstacle(
        "ERROR_ACCESS_DENIED",
        "the CA's machine does not let the account in, or takes it for nobody",
        f"{_WRONG_KEY}; then {_DCOM}",
    ),
    0x000006BA: Obstacle(
        "RPC_S_SERVER_UNAVAILABLE", "the CA's machine does not answer", LAYERS["connect"]
    ),
    0x000006BB: Obstacle("RPC_S_SERVER_TOO_BUSY", "the CA's machine is too busy", _FEWER),
    0x000006BE: Obstacle("RPC_S_CALL_FAILED", "the call ended while it was executed", _EVENTS),
    0x000006BF: Obstacle("RPC_S_CALL_FAILED_DNE", "the call was not executed", _EVENTS),
    0x000006D9: Obstacle(
        "EPT_S_NOT_REGISTERED", "the machine answers, and has no CA's service", LAYERS["mapper"]
    ),
    0x00000721: Obstacle(
        "RPC_S_SEC_PKG_ERROR",
        "Windows refuses to authenticate the account; over TCP, a wrong password looks so",
        f"{_WRONG_KEY}; then at the clocks, and at the domain's policy for NTLM",
    ),
    0x16C9A0D6: Obstacle(
        "EPT_S_NOT_REGISTERED",
        "the machine answers, and CertSvc is stopped there, or it is no CA, or the CA takes no"
        " requests by RPC",
        LAYERS["mapper"],
    ),
    0x1C00000B: Obstacle(
        "NCA_S_PROTO_ERROR", "the CA's machine could not read what it was sent", _EVENTS
    ),
    0x1C010002: Obstacle(
        "NCA_S_OP_RNG_ERROR", "what answers has no such method", "correct port, or leave it out"
    ),
    0x1C010003: Obstacle(
        "NCA_S_UNK_IF", "there is no CA's service on this port", "correct port, or leave it out"
    ),
    0x80010108: Obstacle(
        "RPC_E_DISCONNECTED", "the object on the CA's machine is gone", "ask again later"
    ),
    0xC0000022: Obstacle(
        "STATUS_ACCESS_DENIED", "the CA's machine does not let the account log on", _LOGON
    ),
    0xC0000034: Obstacle(
        "STATUS_OBJECT_NAME_NOT_FOUND",
        "the machine has no pipe of a CA: CertSvc is stopped there, or it is no CA",
        LAYERS["mapper"],
    ),
    0xC0000064: Obstacle(
        "STATUS_NO_SUCH_USER", "there is no such account", "look at user and domain"
    ),
    0xC000006D: Obstacle("STATUS_LOGON_FAILURE", "user or password is wrong", _WRONG_KEY),
    0xC000006E: Obstacle("STATUS_ACCOUNT_RESTRICTION", "the account may not log on so", _ACCOUNT),
    0xC0000071: Obstacle(
        "STATUS_PASSWORD_EXPIRED",
        "the account's password has expired",
        "set a new password: this one has expired; or use a keytab or gMSA",
    ),
    0xC0000072: Obstacle(
        "STATUS_ACCOUNT_DISABLED", "the account is disabled", "enable the account: it is disabled"
    ),
    0xC00000AC: Obstacle("STATUS_PIPE_NOT_AVAILABLE", "all of the CA's pipes are in use", _FEWER),
    0xC00000AE: Obstacle("STATUS_PIPE_BUSY", "all of the CA's pipes are in use", _FEWER),
    0xC00000B0: Obstacle(
        "STATUS_PIPE_DISCONNECTED", "the CA went away while it was at it", _EVENTS
    ),
    0xC0000133: Obstacle(
        "STATUS_TIME_DIFFERENCE_AT_DC",
        "this machine's clock and the domain's differ by more than five minutes",
        "have this machine take its time from the domain (NTP)",
    ),
    0xC000015B: Obstacle(
        "STATUS_LOGON_TYPE_NOT_GRANTED", "the CA's machine does not let the account log on", _LOGON
    ),
    0xC0000193: Obstacle(
        "STATUS_ACCOUNT_EXPIRED", "the account has expired", "extend the account: it has expired"
    ),
    0xC0000224: Obstacle(
        "STATUS_PASSWORD_MUST_CHANGE",
        "the account's password has to be changed at the first logon",
        "set a new password: it has to be changed at the next logon",
    ),
    0xC0000234: Obstacle(
        "STATUS_ACCOUNT_LOCKED_OUT",
        "the account is locked",
        "unlock the account: it is locked; and look for who tries wrong passwords",
    ),
    0xC0000418: Obstacle("STATUS_NTLM_BLOCKED", "NTLM is forbidden there", "set auth: kerberos"),
}

_NO_WINDOWS_CODES = ("dns", "connect")
"""Layers whose codes are the operating system's own."""


def obstacle(error: WireError) -> Obstacle | None:
    """Return what an error's code means; None: it has none, or one that nobody knows."""
    if error.code is None or error.layer in _NO_WINDOWS_CODES:
        return None
    return OBSTACLES.get(error.code & 0xFFFF_FFFF)


def remedy(error: WireError) -> str:
    """Return what to do about an error, by its code, or else where to look, by its layer."""
    known = obstacle(error)
    return LAYERS.get(error.layer, "") if known is None else known.remedy


def told(error: WireError) -> str:
    """Return an error as an administrator is told it: layer, what happened, code, what to do."""
    known, what_to_do = obstacle(error), remedy(error)
    means = "" if known is None else f"; {known.symbol}: {known.cause}"
    return f"{error}{means}" + (f"; {what_to_do}" if what_to_do else "")


def table() -> str:
    """Return the codes as a table of Markdown."""
    lines = ["| code | symbol | what it means | what to do |", "|---|---|---|---|"]
    for code, known in sorted(OBSTACLES.items()):
        cells = (f"`{hexadecimal(code)}`", known.symbol, known.cause, known.remedy)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def tickets_table() -> str:
    """Return what a domain controller says of tickets, as a table of Markdown."""
    lines = ["| code | what it means | what to do |", "|---|---|---|"]
    words = {"account": "the account", "service": "the CA's machine", "skew": ""}
    words["keys"] = "write the secret anew: a new password makes a new keytab necessary, too"
    for code, means in sorted(refusals.MEANS.items()):
        cause, what_to_do = means.cause.format_map(words), means.remedy.format_map(words)
        lines.append(f"| {KdcRefused(code).symbol} ({code}) | {cause} | {what_to_do} |")
    return "\n".join(lines) + "\n"
