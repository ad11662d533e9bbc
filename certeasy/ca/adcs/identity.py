"""Who this server is to the domain, and what it shows to prove it.

An `Identity` belongs to one authority's settings and to nobody else: nothing of it is kept in a
place that two of them share (no module-level cache, no environment variable). `KerberosIdentity`
of `kerberos` fetches tickets; `NtlmIdentity` below answers challenges, and is taken only where the
settings say `auth: ntlm`. Where Windows itself knows who we are, `sspi` asks it.

Secrets come from files that nobody else can read or has put there, each time they are needed: a
changed password or a new keytab is taken up without a restart. They never appear in what can be
printed.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from certeasy.ca.adcs.deadline import Deadline

MOST_OF_A_SECRET_FILE = 1 << 20
OTHERS = 0o077
HAS_ITS_OWN_RULES = Path("/run/credentials")
"""systemd lets the service read its credentials by an access list, which looks like a group's."""
NT_HASH = re.compile(r"[0-9a-fA-F]{32}")


class NotAuthenticated(Exception):
    """Nobody would vouch for us; surely nothing was executed.

    `code` is the symbol of what refused (`KDC_ERR_PREAUTH_FAILED`) or its number as it is written
    everywhere (`0xc000006d`); empty where no machine was asked. `cause` and `remedy` are a sentence
    each, for an operator, without any secret. `transient`: asking again may help without anybody's
    doing; everything else waits for an administrator.
    """

    def __init__(self, code: str, cause: str, remedy: str = "", *, transient: bool = False) -> None:
        told = f"{code}: {cause}" if code else cause
        super().__init__(f"{told}; {remedy}" if remedy else told)
        self.code = code
        self.cause = cause
        self.remedy = remedy
        self.transient = transient


class Credentials(Struct, frozen=True):
    """What is shown to one service on one host.

    With `kerberos`, `tgs` is the ticket for it, in impacket's shape: `KDC_REP` (DER of a TGS-REP),
    `cipher` and `sessionKey`; `user` and `domain` are the ticket's own client, spelt as the KDC
    spelt it, since an authenticator has to repeat it. Nothing else needs the KDC after that, so
    neither password nor key comes along. Without, it is NTLM: `password` or `nt_hash` (hex).
    """

    user: str
    domain: str
    kerberos: bool
    password: str = ""
    nt_hash: str = ""
    aes_key: str = ""
    tgt: Mapping[str, Any] | None = None
    tgs: Mapping[str, Any] | None = None
    kdc: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, {self.domain!r}, kerberos={self.kerberos}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Say no more than that to whoever prints with colours."""
        return [("user", self.user), ("domain", self.domain)]


class Identity(Protocol):
    """One account, for one authority. Good for any thread; it holds one look-up at a time."""

    @property
    def described(self) -> str:
        """Tell people who: "svc-acme@CORP.EXAMPLE by keytab /etc/certeasy/svc.keytab"."""
        ...

    def credentials(self, service: str, host: str, deadline: Deadline) -> Credentials:
        """Return what to show to `service` (host, cifs, ldap) on `host`, kept and renewed.

        Raises NotAuthenticated, or Late. Nobody but a KDC or a DNS server was asked.
        """
        ...

    def forget(self, service: str, host: str) -> None:
        """Do not show again what was shown to it last: it was refused."""
        ...


def read_secret(file: Path, what: str) -> bytes:
    """Return what a private file holds. Raises NotAuthenticated where it is not private.

    `what` names it to people: "the keytab", "password-file". Private is what nobody but its owner
    can use, who is the user that this process runs as, or root: whoever else owns it would decide
    as whom this server asks.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise NotAuthenticated(
            "",
            f"{what} {file} cannot be read: {error.strerror}",
            "name a file this server can read",
        ) from None
    with os.fdopen(descriptor, "rb") as opened:
        # What is looked at is what was opened, whatever has been put in its place since.
        if os.name != "nt" and HAS_ITS_OWN_RULES not in file.parents:
            _refuse_if_not_private(os.fstat(descriptor), f"{what} {file}")
        content = opened.read(MOST_OF_A_SECRET_FILE + 1)
    if len(content) > MOST_OF_A_SECRET_FILE:
        raise NotAuthenticated("", f"{what} {file} is larger than any such file", "name another")
    return content


def _refuse_if_not_private(found: os.stat_result, named: str) -> None:
    mode, ours = stat.S_IMODE(found.st_mode), os.geteuid()
    if mode & OTHERS:
        raise NotAuthenticated(
            "", f"{named} has mode {mode:04o}: others than its owner can use it", "set it to 0600"
        )
    if found.st_uid not in (0, ours):
        owner, user = _user_name(found.st_uid), _user_name(ours)
        raise NotAuthenticated(
            "",
            f"{named} belongs to {owner}, and this process runs as {user}: a file of its own user,"
            " or of root, is trusted",
            f"run this as {owner}, or give the file to {user}",
        )


def _user_name(uid: int) -> str:
    """Return a user as people know it; one without a name, as in some containers, by its number."""
    import pwd  # noqa: PLC0415 - not on Windows, where nobody asks

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def read_password(file: Path) -> str:
    """Return the first line of a private file."""
    try:
        first = read_secret(file, "password-file").decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        raise NotAuthenticated(
            "", f"password-file {file} is not UTF-8", "write the password in UTF-8"
        ) from None
    if not first:
        raise NotAuthenticated(
            "", f"password-file {file} has no password in its first line", "write it there"
        )
    return first


class NtlmIdentity:
    """An account that answers challenges with its password, or with the NT hash of it.

    The first line of the password file is either: 32 hexadecimal digits after `nt-hash:` are a
    hash, anything else is a password. The domain controllers are the CA's concern, not ours.
    """

    def __init__(self, user: str, domain: str, password_file: Path) -> None:
        self._user = user
        self._domain = domain
        self._file = password_file

    @property
    def described(self) -> str:
        """Tell people who."""
        return f"{self._domain}\\{self._user} by NTLM, password-file {self._file}"

    def credentials(self, service: str, host: str, deadline: Deadline) -> Credentials:
        """Return the same for every service: NTLM knows of none."""
        del service, host, deadline
        secret = read_password(self._file)
        label, _, rest = secret.partition(":")
        if label == "nt-hash" and NT_HASH.fullmatch(rest):
            return Credentials(self._user, self._domain, kerberos=False, nt_hash=rest.lower())
        return Credentials(self._user, self._domain, kerberos=False, password=secret)

    def forget(self, service: str, host: str) -> None:
        """Forget nothing: the file is read each time."""
