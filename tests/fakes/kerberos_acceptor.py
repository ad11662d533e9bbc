"""The accepting side of a ticket, made of impacket's own cryptography; nothing of the product's.

It is what the server's key would let it be: it knows the session key of the ticket. What it answers
can be told, rightly and wrongly.
"""

import os
import struct
from contextlib import contextmanager

from impacket.krb5 import asn1
from impacket.krb5.crypto import Key, _get_enctype_profile
from impacket.krb5.types import Principal
from impacket.spnego import SPNEGO_NegTokenInit, SPNEGO_NegTokenResp
from pyasn1.codec.der import decoder, encoder
from pyasn1.type.univ import noValue

from certeasy.ca.adcs.identity import Credentials
from tests.make.adcs import LabCa
from tools.adcs_sim.machine import Machine, Plan
from tools.adcs_sim.security import NEGOTIATE

AES256 = 18
REALM, SERVICE = "LAB.TEST", "host/ca1.lab.test"
SIZE = {18: 32, 17: 16, 23: 16}


def a_ticket(kind=AES256):
    """Return a ticket that no KDC made: whoever accepts it knows its session key anyway."""
    answer = asn1.TGS_REP()
    answer["pvno"] = 5
    answer["msg-type"] = 13
    answer["crealm"] = REALM
    asn1.seq_set(answer, "cname", Principal("svc", type=1).components_to_asn1)
    answer["ticket"] = noValue
    answer["ticket"]["tkt-vno"] = 5
    answer["ticket"]["realm"] = REALM
    asn1.seq_set(answer["ticket"], "sname", Principal(SERVICE, type=2).components_to_asn1)
    for part in (answer["ticket"], answer):
        part["enc-part"] = noValue
        part["enc-part"]["etype"] = kind
        part["enc-part"]["cipher"] = b"sealed for others"
    return {
        "KDC_REP": encoder.encode(answer),
        "cipher": _get_enctype_profile(kind),
        "sessionKey": Key(kind, os.urandom(SIZE[kind])),
    }


class Acceptor:
    """Of one connection. `number` is the first of its messages."""

    def __init__(self, ticket, number=77, subkey=AES256):
        self._key = ticket["sessionKey"]
        self._cipher = ticket["cipher"]
        self.number = number
        self.expected = 0
        self._kind = subkey
        self.subkey = Key(subkey, os.urandom(SIZE[subkey]))
        self._profile = _get_enctype_profile(subkey)

    def answer(self, token, microseconds=0, seconds=None):
        """Take an AP-REQ in its frames; return an AP-REP in SPNEGO's."""
        framed = SPNEGO_NegTokenInit(token)["MechToken"]
        request = decoder.decode(framed[framed.index(b"\x01\x00\x6e") + 2 :], asn1.AP_REQ())[0]
        sealed = request["authenticator"]["cipher"].asOctets()
        proof = decoder.decode(self._cipher.decrypt(self._key, 11, sealed), asn1.Authenticator())[0]
        self.client = str(proof["cname"]["name-string"][0])
        self.expected = int(proof["seq-number"])
        part = asn1.EncAPRepPart()
        part["ctime"] = seconds or str(proof["ctime"])
        part["cusec"] = int(proof["cusec"]) ^ microseconds
        part["subkey"] = noValue
        part["subkey"]["keytype"] = self._kind
        part["subkey"]["keyvalue"] = self.subkey.contents
        part["seq-number"] = self.number
        return self._wrapped(part)

    def _wrapped(self, part):
        answer = asn1.AP_REP()
        answer["pvno"] = 5
        answer["msg-type"] = 15
        answer["enc-part"] = noValue
        answer["enc-part"]["etype"] = self._cipher.enctype
        answer["enc-part"]["cipher"] = self._cipher.encrypt(
            self._key, 12, encoder.encode(part), None
        )
        return in_spnego(encoder.encode(answer))

    def third(self, token):
        """Return what the client's own AP-REP says."""
        answer = decoder.decode(SPNEGO_NegTokenResp(token)["ResponseToken"], asn1.AP_REP())[0]
        sealed = answer["enc-part"]["cipher"].asOctets()
        return decoder.decode(self._cipher.decrypt(self._key, 12, sealed), asn1.EncAPRepPart())[0]

    def opened(self, sealed, verifier):
        """Return what a client sealed."""
        _, flags, _, extra, turn, number = struct.unpack(">2sBBHHQ", verifier[:16])
        assert (flags, number) == (6, self.expected)
        self.expected += 1
        turned = verifier[16:] + sealed
        whole = turned[turn + extra :] + turned[: turn + extra]
        plain = self._profile.decrypt(self.subkey, 24, whole)
        assert plain[-16:] == verifier[:6] + bytes(2) + verifier[8:16]
        return plain[: len(plain) - 16 - extra]

    def sealed(self, plain, extra=0, **wrong):
        """Return a reply, sealed: its body and its verifier."""
        kind, usage = wrong.get("kind", b"\x05\x04"), wrong.get("usage", 22)
        flags, number = wrong.get("flags", 7), wrong.get("number", self.number)
        self.number += 1
        head = struct.pack(">2sBBHHQ", kind, flags, 0xFF, extra, 0, number)
        inner = wrong.get("inner", head)
        whole = self._profile.encrypt(self.subkey, usage, plain + bytes(extra) + inner, None)
        turn = 28
        turned = whole[-(turn + extra) :] + whole[: -(turn + extra)]
        outer = head[:6] + struct.pack(">H", turn) + head[8:]
        return turned[-len(plain) :], outer + turned[: -len(plain)]


def in_spnego(token):
    """Return a token in a NegTokenResp."""
    framed = SPNEGO_NegTokenResp()
    framed["ResponseToken"] = token
    return framed.getData()


def an_error(code):
    """Return a KRB-ERROR, as a server that refuses a ticket sends it."""
    error = asn1.KRB_ERROR()
    error["pvno"] = 5
    error["msg-type"] = 30
    error["stime"] = "20261128000000Z"
    error["susec"] = 0
    error["error-code"] = code
    error["realm"] = REALM
    asn1.seq_set(error, "sname", Principal(SERVICE, type=2).components_to_asn1)
    oid = bytes.fromhex("06092a864886f712010202")
    inner = oid + b"\x03\x00" + encoder.encode(error)
    return in_spnego(b"\x60\x81" + bytes((len(inner),)) + inner)


class TicketAcceptor:
    """An `Acceptor` of the simulated CA's: the other side of one ticket, whoever shows it."""

    token_length = 60

    def __init__(self, ticket) -> None:
        self._acceptor = Acceptor(ticket)
        self.user = ""
        self._legs = 0

    def step(self, token):
        """Answer an AP-REQ, then look at the client's own AP-REP."""
        self._legs += 1
        if self._legs == 1:
            return self._acceptor.answer(token)
        said = self._acceptor.third(token)
        assert int(said["seq-number"]) == self._acceptor.number
        self.user = f"{self._acceptor.client}@{REALM}"
        return b""

    def unwrap(self, head, stub, trailer, token, *, seal):
        """Return what was sealed."""
        assert seal
        return self._acceptor.opened(stub, token)

    def wrap(self, head, stub, trailer, *, seal):
        """Return it sealed."""
        assert seal
        return self._acceptor.sealed(stub)


class TicketMachine(Machine):
    """A CA that takes one ticket and nothing else."""

    def __init__(self, ticket) -> None:
        self._ticket = ticket
        super().__init__(Plan())

    def acceptor(self, kind):
        """Return a new one."""
        return TicketAcceptor(self._ticket) if kind == NEGOTIATE else None


class Ticketed:
    """Whoever has the ticket."""

    described = "the ticket of a test"

    def __init__(self, ticket) -> None:
        self.ticket = ticket
        self.forgotten = []

    def credentials(self, service, host, deadline):
        """Return the same for all."""
        return Credentials("svc", REALM, kerberos=True, tgs=self.ticket)

    def forget(self, service, host):
        """Count which."""
        self.forgotten.append((service, host))


@contextmanager
def a_ca_with_tickets():
    """Run a CA, and yield it with somebody whom it knows."""
    ticket = a_ticket()
    with TicketMachine(ticket) as machine:
        yield LabCa(machine), Ticketed(ticket)
