"""Somebody on the line between a server and its CA changes answers: no order is given what came of
it, and what the CA had issued is found and revoked."""

from datetime import timedelta
from pathlib import Path

from cryptography import x509

from tests.adcs.test_tampered_replies import CHANGES, call_of, with_field
from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import serial_of
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.make.adcs import LabCa, a_ca
from tests.make.adcs_lab import an_adcs_lab, served
from tests.make.csrs import p256

AGAIN = "the answer before this one, with this one's number"
SOME = [
    "a bit of what is sealed",
    "no protection",
    "a fault",
    "a fault that says that nothing was executed",
    "another call",
    "the line",
    AGAIN,
]


class Meddler:
    """Changes the next answer that carries a certificate, as he is told."""

    def __init__(self, ca: LabCa) -> None:
        self._ca = ca
        self._seen = 0
        self.change = ""
        self.before = b""
        """The last answer with a certificate, as the CA sent it."""
        self.relents = True

    def __call__(self, _number: int, packet: bytes) -> bytes | None:
        """Return what the client gets in the place of an answer."""
        if len(self._ca.issued) == self._seen:
            return packet
        self._seen = len(self._ca.issued)
        change, self.change = self.change, "" if self.relents else self.change
        before, self.before = self.before, packet
        if change == AGAIN:
            return with_field(before, 12, "<I", call_of(packet))
        return CHANGES[change](packet) if change else packet


def test_no_order_is_given_a_certificate_that_was_changed_on_the_line(tmp_path: Path) -> None:
    """Each is in doubt, and asked for again; the certificate that was lost is nobody's, and
    revoked."""
    clock = MovedClock()
    with a_ca(clock=clock) as ca:
        meddler = Meddler(ca)
        with (
            man_in_the_middle(ca.port, meddler) as line,
            an_adcs_lab(tmp_path, ca, clock=clock, port=line.port) as lab,
        ):
            client = lab.a_client()
            lab.ends(lab.finalized(client, "first.lab.test"), "valid")
            orders = {}
            for number, change in enumerate(SOME, 1):
                meddler.change = change
                order_id = lab.finalized(client, f"host{number}.lab.test", key=number)
                lab.ends(order_id, "valid")
                assert not meddler.change
                orders[order_id] = number
                before, last = ca.issued[-2:]
                assert lab.given(order_id) == last
                leaf = x509.load_pem_x509_certificates(served(client, order_id))[0]
                assert leaf == x509.load_der_x509_certificate(last)
                assert leaf.public_key() == p256(number).public_key()
                assert lab.story(order_id)[:4] == [
                    "issuance.submitted",
                    "issuance.in-doubt",
                    "issuance.abandoned",
                    "issuance.submitted",
                ]
                lab.tells(order_id, "revocation.published", seconds=30)
                assert serial_of(before).lstrip("0") in ca.revoked
            lab.check()
            assert len(ca.issued) == 1 + 2 * len(orders)
            assert len(ca.revoked) == len(lab.said("certificate.twin-found")) == len(orders)


def test_a_line_on_which_everything_is_changed_hands_nothing_out(tmp_path: Path) -> None:
    """The order waits as long as orders do, and ends; what the CA issued stands in the log."""
    clock = MovedClock()
    with a_ca(clock=clock) as ca:
        meddler = Meddler(ca)
        meddler.change, meddler.relents = "a bit of what is sealed", False
        with (
            man_in_the_middle(ca.port, meddler) as line,
            an_adcs_lab(
                tmp_path, ca, clock=clock, port=line.port, wait=timedelta(minutes=5)
            ) as lab,
        ):
            order_id = lab.finalized(lab.a_client())
            lab.ends(order_id, "invalid")
            assert lab.given(order_id) is None
            assert lab.said("certificate.issued") == []
            attempts = lab.said("issuance.submitted")
            assert len(lab.said("issuance.abandoned")) == len(attempts) == len(ca.issued)
            lab.check()
