"""Kerberos on a line: the server proves who it is, to this connection, and every reply after it."""

import pytest
from impacket.krb5.crypto import Key, _get_enctype_profile

from certeasy.ca.adcs.gss import AesKey, KerberosContext
from certeasy.ca.adcs.security import Refused, Tampered
from tests.fakes.kerberos_acceptor import REALM, Acceptor, a_ticket, an_error

BODY = bytes(range(64))


def agreed(number=77, kind=18):
    ticket = a_ticket(kind)
    acceptor = Acceptor(ticket, number, subkey=kind)
    context = KerberosContext("svc", REALM, ticket)
    third = context.step(acceptor.answer(context.step(b"")))
    assert context.complete
    said = acceptor.third(third)
    assert int(said["seq-number"]) == number
    assert context.step(b"") == b""
    return context, acceptor


@pytest.mark.parametrize("kind", [17, 18], ids=["AES-128", "AES-256"])
@pytest.mark.parametrize("number", [0, 1, 2**31 + 7])
def test_requests_and_replies_pass_in_their_order(number, kind):
    context, acceptor = agreed(number, kind)
    for _ in range(3):
        sealed, verifier = context.seal(b"head", BODY, b"trailer")
        assert (len(sealed), len(verifier)) == (len(BODY), context.overhead(len(BODY)))
        assert acceptor.opened(sealed, verifier) == BODY
        assert context.unseal(b"head", *with_trailer(acceptor.sealed(BODY))) == BODY
    assert acceptor.client == "svc"


def with_trailer(sealed_and_verifier):
    sealed, verifier = sealed_and_verifier
    return sealed, b"trailer", verifier


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 33, 100])
def test_what_is_encrypted_is_decrypted_by_others(length):
    """RFC 3962: the last two blocks change places."""
    key, plain = Key(18, bytes(range(32))), bytes(range(length))
    profile = _get_enctype_profile(18)
    assert profile.decrypt(key, 24, AesKey(key, 24).encrypt(plain)) == plain
    assert AesKey(key, 22).decrypt(profile.encrypt(key, 22, plain, None)) == plain


def test_an_extra_count_is_taken_as_windows_means_it():
    context, acceptor = agreed()
    for _ in range(2):
        sealed, verifier = acceptor.sealed(BODY, extra=16)
        assert context.unseal(b"", sealed, b"", verifier) == BODY


def test_a_reply_is_good_once():
    context, acceptor = agreed()
    sealed, verifier = acceptor.sealed(BODY)
    assert context.unseal(b"", sealed, b"", verifier) == BODY
    with pytest.raises(Tampered, match="next one"):
        context.unseal(b"", sealed, b"", verifier)


def test_no_reply_goes_missing():
    context, acceptor = agreed()
    context.unseal(b"", *with_trailer(acceptor.sealed(BODY)))
    acceptor.sealed(BODY)
    with pytest.raises(Tampered, match="next one"):
        context.unseal(b"", *with_trailer(acceptor.sealed(BODY)))


def test_every_bit_of_a_reply_counts():
    context, acceptor = agreed()
    sealed, verifier = acceptor.sealed(BODY)
    whole = verifier + sealed
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            context.unseal(
                b"", bytes(changed[len(verifier) :]), b"", bytes(changed[: len(verifier)])
            )
    assert context.unseal(b"", sealed, b"", verifier) == BODY


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": b"\4\4"},
        {"usage": 24},
        {"flags": 6},
        {"flags": 3},
        {"flags": 5},
        {"inner": bytes(16)},
    ],
    ids=repr,
)
def test_what_is_sealed_otherwise_is_refused(wrong):
    context, acceptor = agreed()
    with pytest.raises(Tampered):
        context.unseal(b"", *with_trailer(acceptor.sealed(BODY, **wrong)))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 27, 28, 29, 43, 44, 59])
def test_what_is_cut_off_is_refused(length):
    context, acceptor = agreed()
    _, verifier = acceptor.sealed(BODY)
    for body in (b"", BODY):
        with pytest.raises(Tampered):
            context.unseal(b"", body, b"", verifier[:length])


def test_a_server_that_answers_another_connection_is_refused():
    """A recorded connection is played again, with the same ticket: its answer has another time.

    impacket does not look at it, and takes all that was recorded with it for answers.
    """
    ticket = a_ticket()
    acceptor = Acceptor(ticket)
    recorded = acceptor.answer(KerberosContext("svc", REALM, ticket).step(b""))
    context = KerberosContext("svc", REALM, ticket)
    context.step(b"")
    with pytest.raises(Tampered, match="another connection"):
        context.step(recorded)
    assert not context.complete


@pytest.mark.parametrize("wrong", [{"microseconds": 1}, {"seconds": "20261128000000Z"}], ids=repr)
def test_the_time_is_repeated_exactly(wrong):
    ticket = a_ticket()
    context = KerberosContext("svc", REALM, ticket)
    answer = Acceptor(ticket).answer(context.step(b""), **wrong)
    with pytest.raises(Tampered, match="another connection"):
        context.step(answer)


def test_a_server_without_the_key_is_refused():
    ticket = a_ticket()
    context = KerberosContext("svc", REALM, ticket)
    request = context.step(b"")
    answer = Acceptor(ticket).answer(request)
    context = KerberosContext("svc", REALM, a_ticket())
    context.step(b"")
    with pytest.raises(Tampered, match="not its own"):
        context.step(answer)


def test_keys_that_protect_nothing_are_refused():
    ticket = a_ticket()
    context = KerberosContext("svc", REALM, ticket)
    with pytest.raises(Tampered, match="only AES"):
        context.step(Acceptor(ticket, subkey=23).answer(context.step(b"")))


def test_a_server_that_refuses_a_ticket_says_why():
    context = KerberosContext("svc", REALM, a_ticket())
    context.step(b"")
    with pytest.raises(Refused, match="KRB_AP_ERR_SKEW") as refused:
        context.step(an_error(37))
    assert refused.value.symbol == "KRB_AP_ERR_SKEW"


@pytest.mark.parametrize(
    "token",
    [b"", b"\xa1\x00", b"\xa1\x05\x30\x03\xa0\x01", bytes.fromhex("a1073005a0030a0102")],
    ids=["nothing", "empty", "cut off", "reject"],
)
def test_what_is_no_answer_is_refused(token):
    context = KerberosContext("svc", REALM, a_ticket())
    context.step(b"")
    with pytest.raises((Tampered, Refused)):
        context.step(token)


def test_there_is_no_context_without_a_ticket():
    with pytest.raises(ValueError, match="ticket"):
        KerberosContext("svc", REALM, None)
