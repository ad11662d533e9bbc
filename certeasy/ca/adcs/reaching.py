"""What the codes mean that are met on the way to a CA: faults of RPC, and statuses of SMB.

They come from no CA, are protected by nothing, and decide nothing: an administrator is told.
Sources: MS-ERREF sections 2.2 and 2.3.
"""

from collections.abc import Mapping

from certeasy.ca.adcs.errors import WireError

_LAYERS: Mapping[str, str] = {
    "dns": "correct the name, or have this machine ask the domain's DNS servers",
    "connect": "look at the firewall between this machine and the CA",
    "mapper": "look whether CertSvc runs on that host, and at certutil -getreg CA\\InterfaceFlags"
    " (IF_NORPCICERTREQUEST)",
    "smb": "look whether the account may log on over the network there, or use transport: tcp",
    "login": "look at the account, its secret, and the clocks",
    "bind": "look at the account, its secret, and whether CertSvc runs on that host",
    "rpc": "look at the account, its secret, the clocks, and the security log of the CA",
    "dcom": "look at the ports of the CA (135, 49152-65535), and at the group Certificate Service"
    " DCOM Access there",
}
_WRONG_KEY = "look at the password or keytab, which is not that of the account"
_CODES: Mapping[int, str] = {
    0x0000_0005: f"{_WRONG_KEY}, or at the rights of the account to use RPC on the CA (group"
    " Certificate Service DCOM Access)",
    0x0000_0721: f"{_WRONG_KEY}; at the clocks; or at the domain's policy, if NTLM is blocked",
    0xC000_006D: _WRONG_KEY,
    0xC000_0064: "look at user and domain: there is no such account",
    0xC000_0071: "set a new password: this one has expired; or use a keytab or gMSA",
    0xC000_0072: "enable the account: it is disabled",
    0xC000_0193: "extend the account: it has expired",
    0xC000_0224: "set a new password: it has to be changed at the next logon",
    0xC000_0234: "unlock the account: it is locked",
    0xC000_0418: "use auth: kerberos: the domain blocks NTLM",
    0xC000_0022: "grant the account `Access this computer from the network` on the CA, and use the"
    " CA's own DNS name",
    0xC000_0034: "look whether CertSvc runs on that host: its pipe is not there",
    0xC000_00AC: "try again: all instances of the CA's pipe are busy",
}


def remedy(error: WireError) -> str:
    """Return what to do about an error: by its code, or else by its layer."""
    if error.code is not None and error.code in _CODES:
        return _CODES[error.code]
    return _LAYERS.get(error.layer, "")
