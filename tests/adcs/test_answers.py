"""What a CA answers, and what follows for the order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.ca.adcs.answers import attributes, outcome, outcome_by_now, refused
from certeasy.ca.adcs.codes import MEANINGS
from certeasy.ca.adcs.ndr import Reply
from certeasy.ca.authority import Denied, InDoubt, Issued, Pending, Submission, Unavailable

SUBMISSION = Submission("order-1", 1, b"csr", ("web.lab.test",), "node-1")
LOCAL_TEXT = "Vom Richtlinienmodul abgelehnt\r\n 0x80094012 CA1$@lab.test"


def reply(disposition: int, number: int = 7, certificate: bytes = b"", text: str = "") -> Reply:
    return Reply(disposition, number, b"", certificate, text)


def test_a_request_names_its_template_its_order_and_its_node() -> None:
    assert attributes("Web", SUBMISSION, telling=True) == {
        "CertificateTemplate": "Web",
        "CerteasyOrder": "order-1",
        "CerteasyNode": "node-1",
    }
    assert attributes("Web", SUBMISSION, telling=False) == {"CertificateTemplate": "Web"}


def test_a_certificate_is_issued_with_its_request_number() -> None:
    assert outcome(reply(3, certificate=b"leaf")) == Issued(b"leaf", (), "7")


def test_a_request_that_waits_for_an_officer_is_pending() -> None:
    answer = outcome(reply(5))
    assert isinstance(answer, Pending)
    assert answer.request_id == "7"


@pytest.mark.parametrize("disposition", [1, 2, 6])
def test_a_request_that_is_over_without_a_certificate_is_denied(disposition: int) -> None:
    answer = outcome(reply(disposition, text=LOCAL_TEXT))
    assert isinstance(answer, Denied)
    assert answer.request_id == "7"
    assert "lab.test" not in answer.reason_for_client
    assert "CA1$@lab.test" in answer.reason


@pytest.mark.parametrize("disposition", [0, 3, 4, 7, 0x7FFFFFFF])
def test_what_may_have_made_a_certificate_that_is_not_shown_is_in_doubt(disposition: int) -> None:
    """A denial would be the end of it, and nobody would look for the certificate."""
    with pytest.raises(InDoubt) as doubt:
        outcome(reply(disposition, text=LOCAL_TEXT))
    assert doubt.value.request_id == "7"
    assert "its request 7" in doubt.value.reason
    assert "CA1$@lab.test" in doubt.value.reason
    with pytest.raises(Unavailable) as later:
        outcome_by_now(reply(disposition, text=LOCAL_TEXT))
    assert not later.value.sick


def test_what_waits_for_an_officer_under_no_number_is_in_doubt() -> None:
    with pytest.raises(InDoubt) as doubt:
        outcome(reply(5, number=0))
    assert doubt.value.request_id is None


def test_a_certificate_that_comes_along_is_taken_whatever_way_it_was_issued() -> None:
    assert outcome(reply(4, certificate=b"leaf")) == Issued(b"leaf", (), "7")


@pytest.mark.parametrize("code", MEANINGS, ids=hex)
def test_a_code_is_a_denial_if_the_request_is_at_fault_and_else_a_sure_no(code: int) -> None:
    means = MEANINGS[code]
    if means.kind == "csr":
        answer = outcome(reply(code, text=LOCAL_TEXT))
        assert isinstance(answer, Denied)
        assert (answer.code, answer.problem) == (f"0x{code:08x}", means.problem)
        assert answer.reason_for_client == (
            f"the authority refuses the request: {means.symbol}, its request 7"
        )
        assert means.remedy in answer.reason
    else:
        with pytest.raises(Unavailable) as caught:
            outcome(reply(code, text=LOCAL_TEXT))
        assert caught.value.sick == (means.kind == "service")
        assert caught.value.code == f"0x{code:08x}"
        assert means.remedy in caught.value.reason
        assert "its request 7" in caught.value.reason


def test_a_method_s_own_code_means_the_same() -> None:
    answer = refused(0x8009310B)
    assert isinstance(answer, Denied)
    assert answer.reason_for_client == "the authority refuses the request: CRYPT_E_ASN1_BADTAG"


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 9), st.binary(max_size=9), st.text())
def test_any_reply_is_one_of_the_five_answers_and_never_a_line_break(
    disposition: int, number: int, certificate: bytes, text: str
) -> None:
    said: list[str] = []
    try:
        answer = outcome(Reply(disposition, number, certificate, certificate, text))
    except (Unavailable, InDoubt) as error:
        said.append(error.reason)
    else:
        if isinstance(answer, Denied):
            said += [answer.reason, answer.reason_for_client]
            assert answer.reason_for_client.isascii()
    assert all(each.isprintable() for each in said)
