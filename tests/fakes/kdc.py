"""A small real KDC on loopback: AS and TGS exchanges by TCP, over a dict of accounts.

    with Kdc("LAB.TEST", {"svc-acme": "Secret.123"}, ["host/ca1.lab.test"]) as kdc:
        ...  # kdc.endpoint is "127.0.0.1:40123"

It checks what a careful KDC checks: the encrypted time, the ticket, the authenticator, and its
checksum over the body of the request. What else it does is told by `moods`, which may be changed
while it runs:

    MUTE                     takes the connection and says nothing
    HANGS-UP                 closes in the middle of its reply
    RUBBISH, TRAILER         what it sends is no message, or more than one
    ENORMOUS                 what it sends is announced as two gigabytes
    BUSY                     KDC_ERR_SVC_UNAVAILABLE
    WRONG-NONCE, WRONG-KEY, OTHER-CLIENT, OTHER-SERVICE, WEAK-SESSION, SHORT-KEY, NO-TIME
                             a reply that is not the one that was asked for
    NO-PREAUTH               logins need prove nothing
    RC4-ONLY, RC4-SERVICES   accounts, or those behind services, have no AES key
    FEW-ROUNDS, MANY-ROUNDS  passwords are derived by so many rounds
    REFERRAL                 every service is another realm's
    CODE n                   every request is refused with error n; `CODE n TGS`: for services only
"""

import contextlib
import functools
import os
import selectors
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from impacket.krb5 import asn1, crypto
from impacket.krb5.crypto import Key
from pyasn1.codec.der import decoder, encoder

from certeasy.clock import Clock, SystemClock

AES256, AES128, RC4 = 18, 17, 23
STAMP = "%Y%m%d%H%M%SZ"
ROUNDS = 4096


class Kdc:
    """Serves from a thread of its own between `with` and its end."""

    def __init__(
        self,
        realm: str,
        accounts: Mapping[str, str],
        services: Sequence[str],
        moods: Sequence[str] = (),
        *,
        clock: Clock | None = None,
        lifetime: timedelta = timedelta(hours=10),
        at: str = "127.0.0.1",
    ) -> None:
        self.realm = realm
        self.accounts = dict(accounts)
        self.services = list(services)
        self.moods = set(moods)
        self.lifetime = lifetime
        self.ahead = timedelta()
        """How far its clock is ahead."""
        self.forges = 0
        """So many proofs are refused from now on, whatever they are worth."""
        self.tires = False
        """Whether it is BUSY after it has refused a proof."""
        self._clock = clock or SystemClock()
        self.asked: list[str] = []
        """What was asked so far: `AS svc`, `AS svc proven`, `TGS host/ca1.lab.test`, `RENEW`."""
        self._own = Key(AES256, os.urandom(32))
        self._listener = socket.create_server((at, 0))
        self._wake, self._stop = socket.socketpair()
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, name="kdc", daemon=True)

    @property
    def endpoint(self) -> str:
        """Where it listens, as ADDRESS:PORT."""
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for line in (self._listener, self._wake, self._stop, *self._held):
            line.close()

    def key_of(self, user: str, etype: int) -> bytes:
        """Return an account's key, as a keytab has it."""
        return bytes(self._key(user, etype).contents)

    def change_own_key(self) -> None:
        """Take no ticket any more that was handed out before."""
        self._own = Key(AES256, os.urandom(32))

    def _key(self, user: str, etype: int) -> Key:
        return _derived(etype, self.accounts[user], f"{self.realm}{user}")

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._wake in ready:
                    return
                line = self._listener.accept()[0]
                if "MUTE" in self.moods:
                    self._held.append(line)
                    continue
                with line, contextlib.suppress(OSError):
                    line.settimeout(5)
                    self._answer(line)

    def _answer(self, line: socket.socket) -> None:
        length = struct.unpack(">I", line.recv(4, socket.MSG_WAITALL))[0]
        reply = self._reply(line.recv(length, socket.MSG_WAITALL))
        reply += b"x" * ("TRAILER" in self.moods)
        if "ENORMOUS" in self.moods:
            line.sendall(struct.pack(">I", 1 << 31))
        elif "HANGS-UP" in self.moods:
            line.sendall(struct.pack(">I", len(reply)) + reply[:-1])
        else:
            line.sendall(struct.pack(">I", len(reply)) + reply)

    def _reply(self, message: bytes) -> bytes:
        if "RUBBISH" in self.moods:
            return b"\x6brubbish"
        if "BUSY" in self.moods:
            return self._error(29)
        for mood in self.moods:
            word, _, rest = mood.partition(" ")
            code, _, whom = rest.partition(" ")
            if word == "CODE" and (not whom or message[:1] == b"\x6c"):
                return self._error(int(code))
        if message[:1] == b"\x6a":
            return self._login(decoder.decode(message, asn1Spec=asn1.AS_REQ())[0])
        return self._service(decoder.decode(message, asn1Spec=asn1.TGS_REQ())[0])

    def _login(self, request: Any) -> bytes:
        body = request["req-body"]
        client = tuple(str(part) for part in body["cname"]["name-string"])
        user = "/".join(client)
        shown = {
            int(item["padata-type"]): bytes(item["padata-value"]) for item in request["padata"]
        }
        self.asked.append(f"AS {user}" + " proven" * (2 in shown))
        known = next((name for name in self.accounts if name.lower() == user.lower()), None)
        if known is None:
            return self._error(6)
        has = (RC4,) if "RC4-ONLY" in self.moods else (AES256, AES128, RC4)
        offered = [int(etype) for etype in body["etype"]]
        etypes = [etype for etype in has if etype in offered]
        if not etypes:
            return self._error(14)
        if "NO-PREAUTH" not in self.moods:
            if 2 not in shown:
                return self._error(25, encoder.encode(self._methods(known, etypes)))
            sealed = decoder.decode(shown[2], asn1Spec=asn1.EncryptedData())[0]
            key = self._key(known, int(sealed["etype"]))
            try:
                plain = crypto.decrypt(key, 1, bytes(sealed["cipher"]))
            except (crypto.InvalidChecksum, ValueError):
                plain = b""
            if self.forges or not plain:
                self.forges = max(0, self.forges - 1)
                self.moods |= {"BUSY"} if self.tires else set()
                return self._error(24)
            stamp = decoder.decode(plain, asn1Spec=asn1.PA_ENC_TS_ENC())[0]
            at = datetime.strptime(str(stamp["patimestamp"]), STAMP).replace(tzinfo=UTC)
            if abs(at - self._time()) > timedelta(minutes=5):
                return self._error(37)
        key = self._key(known, etypes[0])
        service = ("krbtgt", self.realm)
        reply = asn1.AS_REP()
        methods = self._methods(known, etypes)
        items = reply.setComponentByName("padata")["padata"]
        for number, item in enumerate(methods):
            items.setComponentByPosition(number, item)
        return self._granted(reply, 11, asn1.EncASRepPart(), body, (key, 3), client, service)

    def _service(self, request: Any) -> bytes:
        body = request["req-body"]
        service = tuple(str(part) for part in body["sname"]["name-string"])
        renew = bool(body["kdc-options"][30])
        self.asked.append("RENEW" if renew else f"TGS {'/'.join(service)}")
        shown = decoder.decode(bytes(request["padata"][0]["padata-value"]), asn1Spec=asn1.AP_REQ())[
            0
        ]
        try:
            plain = crypto.decrypt(self._own, 2, bytes(shown["ticket"]["enc-part"]["cipher"]))
        except (crypto.InvalidChecksum, ValueError):
            return self._error(31)
        ticket = decoder.decode(plain, asn1Spec=asn1.EncTicketPart())[0]
        session = Key(int(ticket["key"]["keytype"]), bytes(ticket["key"]["keyvalue"]))
        opened = crypto.decrypt(session, 7, bytes(shown["authenticator"]["cipher"]))
        proof = decoder.decode(opened, asn1Spec=asn1.Authenticator())[0]
        whole = encoder.encode(body)
        text = whole[2 + (whole[1] & 0x7F if whole[1] & 0x80 else 0) :]
        try:
            crypto.verify_checksum(
                int(proof["cksum"]["cksumtype"]),
                session,
                6,
                text,
                bytes(proof["cksum"]["checksum"]),
            )
        except (crypto.InvalidChecksum, ValueError):
            return self._error(50)
        client = tuple(str(part) for part in ticket["cname"]["name-string"])
        if tuple(str(part) for part in proof["cname"]["name-string"]) != client:
            return self._error(36)
        offered = [int(etype) for etype in body["etype"]]
        if "RC4-SERVICES" in self.moods and RC4 not in offered:
            return self._error(14)
        if not renew and "/".join(service).lower() not in [one.lower() for one in self.services]:
            return self._error(7)
        if "REFERRAL" in self.moods:
            service = ("krbtgt", "ELSEWHERE.TEST")
        reply = asn1.TGS_REP()
        return self._granted(reply, 13, asn1.EncTGSRepPart(), body, (session, 8), client, service)

    def _granted(
        self,
        reply: Any,
        kind: int,
        part: Any,
        body: Any,
        key: tuple[Key, int],
        client: tuple[str, ...],
        service: tuple[str, ...],
    ) -> bytes:
        """Return a reply with a ticket in it."""
        moods, now = self.moods, self._time()
        etype = int(body["etype"][0])
        if "WEAK-SESSION" in moods:
            etype = RC4
        session = os.urandom({AES256: 32, AES128: 16, RC4: 16}[etype])
        if "OTHER-SERVICE" in moods:
            service = ("host", "other.lab.test")
        inner = asn1.EncTicketPart()
        inner["flags"] = "'" + "0" * 32 + "'B"
        inner["key"]["keytype"], inner["key"]["keyvalue"] = etype, session
        inner["crealm"] = self.realm
        _named(inner, "cname", 1, client)
        inner["transited"]["tr-type"], inner["transited"]["contents"] = 0, b""
        inner["authtime"], inner["endtime"] = now.strftime(STAMP), self._end(now)
        ticket = reply.setComponentByName("ticket")["ticket"]
        ticket["tkt-vno"], ticket["realm"] = 5, self.realm
        _named(ticket, "sname", 2, service)
        _sealed(ticket, self._own, 2, encoder.encode(inner))

        part["key"]["keytype"] = etype
        part["key"]["keyvalue"] = session[:-1] if "SHORT-KEY" in moods else session
        last = part.setComponentByName("last-req")["last-req"]
        entry = last.setComponentByPosition(0)[0]
        entry["lr-type"], entry["lr-value"] = 0, now.strftime(STAMP)
        part["nonce"] = int(body["nonce"]) ^ ("WRONG-NONCE" in moods)
        part["flags"] = "'" + "0" * 32 + "'B"
        part["authtime"] = "20260230000000Z" if "NO-TIME" in moods else now.strftime(STAMP)
        part["endtime"] = self._end(now)
        part["renew-till"] = (now + timedelta(days=7)).strftime(STAMP)
        part["srealm"] = self.realm
        _named(part, "sname", 2, service)
        reply["pvno"], reply["msg-type"], reply["crealm"] = 5, kind, self.realm
        _named(reply, "cname", 1, ("somebody",) if "OTHER-CLIENT" in moods else client)
        with_key = Key(key[0].enctype, bytes(len(key[0].contents)))
        _sealed(reply, with_key if "WRONG-KEY" in moods else key[0], key[1], encoder.encode(part))
        whole: bytes = encoder.encode(reply)
        return whole

    def _methods(self, user: str, etypes: Sequence[int]) -> Any:
        told = asn1.ETYPE_INFO2()
        for number, etype in enumerate(etypes):
            entry = told.setComponentByPosition(number)[number]
            entry["etype"] = etype
            if etype != RC4:
                rounds = 1 if "FEW-ROUNDS" in self.moods else ROUNDS
                rounds = 1 << 31 if "MANY-ROUNDS" in self.moods else rounds
                entry["salt"] = f"{self.realm}{user}"
                entry["s2kparams"] = struct.pack(">I", rounds)
        methods = asn1.METHOD_DATA()
        item = methods.setComponentByPosition(0)[0]
        item["padata-type"], item["padata-value"] = 2, b""
        item = methods.setComponentByPosition(1)[1]
        item["padata-type"], item["padata-value"] = 19, encoder.encode(told)
        return methods

    def _time(self) -> datetime:
        return self._clock.now() + self.ahead

    def _end(self, now: datetime) -> str:
        return (now + self.lifetime).strftime(STAMP)

    def _error(self, code: int, data: bytes = b"") -> bytes:
        error = asn1.KRB_ERROR()
        error["pvno"], error["msg-type"] = 5, 30
        error["stime"], error["susec"] = self._time().strftime(STAMP), 0
        error["error-code"], error["realm"] = code, self.realm
        _named(error, "sname", 2, ("krbtgt", self.realm))
        if data:
            error["e-data"] = data
        whole: bytes = encoder.encode(error)
        return whole


@functools.cache
def _derived(etype: int, password: str, salt: str) -> Key:
    """Return a key, derived by impacket, which takes its time."""
    return crypto.string_to_key(etype, password, salt.encode())


def _named(into: Any, field: str, kind: int, parts: Sequence[str]) -> None:
    name = into.setComponentByName(field)[field]
    name["name-type"] = kind
    asn1.seq_set_iter(name, "name-string", parts)


def _sealed(into: Any, key: Key, usage: int, plain: bytes) -> None:
    data = into.setComponentByName("enc-part")["enc-part"]
    data["etype"] = key.enctype
    blocks = 8 if key.enctype == RC4 else 16
    data["cipher"] = crypto.encrypt(key, usage, plain, os.urandom(blocks))
