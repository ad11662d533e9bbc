"""A domain controller's LDAP, with a few objects: NTLM by SASL, and every message sealed.

Its messages are read and made by impacket's classes, so that what is tried is more than our own
mirror. What it does wrong is told by `wrong`:

| wrong | |
|---|---|
| `password` | no bind succeeds; what the controller says is Windows' own words |
| `seal` | a byte of each sealed answer is changed |
| `plain` | answers after the bind are not sealed |
| `silent` | searches are not answered |
| `hangs up` | the line is cut at the first search |
| `endless` | the same object is found again and again |
| `stronger` | the controller wants more than is offered |
| `number` | answers are to requests that nobody made |
"""

import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence

from impacket.ldap import ldapasn1
from pyasn1.codec.ber import decoder, encoder

from certeasy.clock import SystemClock
from tests.make.adcs import DOMAIN, PASSWORD, USER
from tools.adcs_sim.machine import nt_hash
from tools.adcs_sim.ntlm import NtlmAcceptor, Server
from tools.adcs_sim.security import NotAuthenticated

Objects = Mapping[str, Mapping[str, Sequence[bytes]]]
"""Attributes by distinguished names."""
WRONG_PASSWORD = (
    "80090308: LdapErr: DSID-0C090569, comment: AcceptSecurityContext error, data 52e, v4563"
)
SD_FLAGS = "1.2.840.113556.1.4.801"


class LdapServer:
    """Listens on loopback, one connection at a time; with `tls`, over TLS and unsealed."""

    def __init__(
        self, objects: Objects, wrong: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.tls = tls
        self.objects = objects
        self.wrong = wrong
        self.searched: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self._over = threading.Event()

    def close(self) -> None:
        """Stop, whatever is under way."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, EOFError):
                connection.settimeout(10)
                if self.tls is None:
                    _Session(self, connection).serve()
                else:
                    with self.tls.wrap_socket(connection, server_side=True) as secured:
                        _Session(self, secured).serve()

    def wait(self) -> None:
        """Wait until the server is closed."""
        self._over.wait(10)


class _Session:
    def __init__(self, server: LdapServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        known = Server(DOMAIN, "DC1", "lab.test", {USER: nt_hash(PASSWORD)})
        self._acceptor = NtlmAcceptor(known, SystemClock(), os.urandom)
        self._sealed = False

    def serve(self) -> None:
        while True:
            message = decoder.decode(self._receive(), asn1Spec=ldapasn1.LDAPMessage())[0]
            operation = message["protocolOp"]
            number = int(message["messageID"])
            if operation.getName() == "bindRequest":
                self._bind(number, operation["bindRequest"])
            elif operation.getName() == "searchRequest":
                self._search(number, operation["searchRequest"], message["controls"])
            else:
                return

    def _bind(self, number: int, request) -> None:
        answer = ldapasn1.BindResponse()
        answer["matchedDN"], answer["diagnosticMessage"] = "", ""
        token = bytes(request["authentication"]["sasl"]["credentials"])
        if self._server.wrong == "stronger":
            answer["resultCode"], answer["diagnosticMessage"] = 8, "sign or seal"
            self._send(number, answer)
            return
        try:
            if self._server.wrong == "password" and self._acceptor._challenged:
                raise NotAuthenticated("no")
            said = self._acceptor.step(token)
        except NotAuthenticated:
            answer["resultCode"], answer["diagnosticMessage"] = 49, WRONG_PASSWORD
            self._send(number, answer)
            return
        answer["resultCode"] = 14 if said else 0
        if said:
            answer["serverSaslCreds"] = said
        self._send(number, answer)
        self._sealed = not said and self._server.tls is None

    def _search(self, number: int, request, controls) -> None:
        base, scope = str(request["baseObject"]), int(request["scope"])
        self._server.searched.append(base)
        if self._sealed and self._server.wrong == "silent":
            self._server.wait()
        if self._sealed and self._server.wrong == "hangs up":
            raise EOFError
        names = [str(each) for each in request["attributes"]]
        secured = any(str(each["controlType"]) == SD_FLAGS for each in controls)
        found = [dn for dn in self._server.objects if _fits(dn, base, scope)]
        for dn in found * (3000 if self._sealed and self._server.wrong == "endless" else 1):
            attributes = self._server.objects[dn]
            if not _matches(request["filter"], attributes):
                continue
            entry = ldapasn1.SearchResultEntry()
            entry["objectName"] = dn
            shown = [
                name
                for name in names
                if name in attributes and (secured or name != "nTSecurityDescriptor")
            ]
            for n, name in enumerate(shown):
                entry["attributes"][n]["type"] = name
                entry["attributes"][n]["vals"].setComponents(*attributes[name])
            if not shown:
                entry["attributes"].clear()
            self._send(number, entry)
        done = ldapasn1.SearchResultDone()
        done["resultCode"] = 0 if found else 32
        done["matchedDN"], done["diagnosticMessage"] = "", ""
        self._send(number, done)

    def _send(self, number: int, operation) -> None:
        message = ldapasn1.LDAPMessage()
        message["messageID"] = number + (self._sealed and self._server.wrong == "number")
        message["protocolOp"].setComponentByType(operation.getTagSet(), operation)
        data = encoder.encode(message)
        if self._sealed and self._server.wrong != "plain":
            sealed, token = self._acceptor.wrap(b"", data, b"", seal=True)
            data = token + sealed
            if self._server.wrong == "seal":
                data = data[:-1] + bytes((data[-1] ^ 1,))
            data = struct.pack(">I", len(data)) + data
        self._connection.sendall(data)

    def _receive(self) -> bytes:
        if self._sealed:
            (length,) = struct.unpack(">I", self._exactly(4))
            data = self._exactly(length)
            return self._acceptor.unwrap(b"", data[16:], b"", data[:16], seal=True)
        head = self._exactly(2)
        length = head[1]
        if length & 0x80:
            size = self._exactly(length & 0x7F)
            head, length = head + size, int.from_bytes(size, "big")
        return head + self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._connection.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data


def _fits(dn: str, base: str, scope: int) -> bool:
    if scope == 0:
        return dn == base
    return dn.partition(",")[2] == base if scope == 1 else dn != base and dn.endswith(base)


def _matches(wanted, attributes: Mapping[str, Sequence[bytes]]) -> bool:
    if wanted.getName() == "present":
        return True
    pair = wanted["equalityMatch"]
    return bytes(pair["assertionValue"]) in attributes.get(str(pair["attributeDesc"]), ())


@contextlib.contextmanager
def an_ldap_server(
    objects: Objects, wrong: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[LdapServer]:
    """Run one."""
    server = LdapServer(objects, wrong, tls)
    try:
        yield server
    finally:
        server.close()
