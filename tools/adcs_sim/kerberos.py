"""The accepting side of Kerberos, by MIT's library: MS-KILE, RFC 4121, in DCE style.

It needs python-gssapi, which needs a compiler and MIT's headers; so it is no dependency, and
imported only where a keytab was given. The proof that the client is right is then MIT's, not ours.
"""

from pathlib import Path

import gssapi
from gssapi.raw import ext_dce

from tools.adcs_sim.security import NotAuthenticated
from tools.adcs_sim.spnego import unframed

_IOV = ext_dce.IOV
_TYPE = ext_dce.IOVBufferType


class KerberosAcceptor:
    """One security context: an `Acceptor`. Headers are not covered: nobody negotiates that here."""

    def __init__(self, keytab: Path) -> None:
        self.user = ""
        self._length = 0
        credentials = gssapi.Credentials(usage="accept", store={"keytab": str(keytab)})
        self._context = gssapi.SecurityContext(usage="accept", creds=credentials)

    @property
    def token_length(self) -> int:
        """How long a token is; its length does not depend on what is sealed."""
        if not self._length and self.user:
            probe = _IOV(
                (_TYPE.data, False, bytes(16)), (_TYPE.header, False, b""), std_layout=False
            )
            ext_dce.wrap_iov_length(self._context, probe, confidential=True)
            self._length = len(probe[1].value or b"")
        return self._length

    def step(self, token: bytes) -> bytes:
        """Take AP-REQ, return AP-REP; take the client's own AP-REP, return nothing."""
        try:
            answer = self._context.step(unframed(token))
            if self._context.complete:
                self.user = str(self._context.initiator_name)
        except gssapi.exceptions.GSSError as error:
            raise NotAuthenticated(" ".join(str(error).split())) from error
        return answer or b""

    def unwrap(
        self, head: bytes, stub: bytes, trailer: bytes, token: bytes, *, seal: bool
    ) -> bytes:
        """Return a verified stub."""
        del head, trailer
        iov = _IOV((_TYPE.data, False, stub), (_TYPE.header, False, token), std_layout=False)
        try:
            sealed = ext_dce.unwrap_iov(self._context, iov).encrypted
        except gssapi.exceptions.GSSError as error:
            raise NotAuthenticated(" ".join(str(error).split())) from error
        if seal and not sealed:
            raise NotAuthenticated("a stub that is signed and not sealed")
        return bytes(iov[0].value or b"")

    def wrap(self, head: bytes, stub: bytes, trailer: bytes, *, seal: bool) -> tuple[bytes, bytes]:
        """Return a protected stub, and its token."""
        del head, trailer
        iov = _IOV((_TYPE.data, False, stub), (_TYPE.header, True, None), std_layout=False)
        ext_dce.wrap_iov(self._context, iov, confidential=seal)
        return bytes(iov[0].value or b""), bytes(iov[1].value or b"")
