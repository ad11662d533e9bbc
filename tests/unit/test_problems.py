"""What a client is told when the answer is no."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide.problems import Identifier, Problem, Refused, Subproblem

# RFC 8555 section 6.7 as a list, typed from it; then RFC 9773's, and the profiles draft's.
TYPES = """
accountDoesNotExist alreadyRevoked badCSR badNonce badPublicKey badRevocationReason
badSignatureAlgorithm caa compound connection dns externalAccountRequired incorrectResponse
invalidContact malformed orderNotReady rateLimited rejectedIdentifier serverInternal tls
unauthorized unsupportedContact unsupportedIdentifier userActionRequired alreadyReplaced
invalidProfile
"""


def as_json(refused: Refused) -> bytes:
    return msgspec.json.encode(refused.document())


def test_every_error_type_of_the_rfc_exists() -> None:
    assert {problem.urn for problem in Problem} == {
        f"urn:ietf:params:acme:error:{name}" for name in TYPES.split()
    }


def test_problems_of_one_type_stay_apart() -> None:
    assert len(Problem.__members__) == len(list(Problem))
    assert Problem.SERVICE_UNAVAILABLE.urn == Problem.SERVER_INTERNAL.urn


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (Problem.BAD_NONCE, 400),
        (Problem.ACCOUNT_DOES_NOT_EXIST, 400),
        (Problem.EXTERNAL_ACCOUNT_REQUIRED, 403),
        (Problem.ORDER_NOT_READY, 403),
        (Problem.UNAUTHORIZED, 403),
        (Problem.USER_ACTION_REQUIRED, 403),
        (Problem.RATE_LIMITED, 429),
        (Problem.SERVER_INTERNAL, 500),
        (Problem.SERVICE_UNAVAILABLE, 503),
        (Problem.ALREADY_REPLACED, 409),
    ],
)
def test_the_status_is_the_one_that_clients_know(problem: Problem, status: int) -> None:
    assert Refused(problem, "because").status == status


def test_conflict_is_kept_for_what_the_rfcs_call_a_conflict() -> None:
    # certbot raises at a 409 before it reads the document.
    assert [problem for problem in Problem if problem.status == 409] == [Problem.ALREADY_REPLACED]


def test_a_plain_refusal_is_three_members() -> None:
    assert as_json(Refused(Problem.BAD_CSR, "no name")) == (
        b'{"type":"urn:ietf:params:acme:error:badCSR","detail":"no name","status":400}'
    )


def test_a_refusal_reads_as_its_detail() -> None:
    assert str(Refused(Problem.DNS, "no such name")) == "no such name"


def test_a_status_can_be_another_one() -> None:
    refused = Refused(Problem.MALFORMED, "no such order", status=404)
    assert (refused.status, refused.document().status) == (404, 404)


def test_what_will_pass_says_when_to_come_back() -> None:
    assert Refused(Problem.SERVICE_UNAVAILABLE, "the database is away").retry_after == 5
    assert Refused(Problem.SERVICE_UNAVAILABLE, "draining", retry_after=30).retry_after == 30
    assert Refused(Problem.SERVER_INTERNAL, "a bug").retry_after is None


def test_a_name_is_told_as_an_identifier() -> None:
    refused = Refused(Problem.REJECTED_IDENTIFIER, "not ours", identifier="web.corp.test")
    assert refused.document().identifier == Identifier("dns", "web.corp.test")
    assert b'"identifier":{"type":"dns","value":"web.corp.test"}' in as_json(refused)


def test_each_part_of_a_refusal_has_its_name() -> None:
    parts = [
        Subproblem.of(Problem.REJECTED_IDENTIFIER, "denied by policy", "a.test"),
        Subproblem.of(Problem.CAA, "another authority", "b.test"),
    ]
    seen = msgspec.json.decode(as_json(Refused(Problem.COMPOUND, "two names", subproblems=parts)))
    assert [(part["type"], part["identifier"]["value"]) for part in seen["subproblems"]] == [
        (Problem.REJECTED_IDENTIFIER.urn, "a.test"),
        (Problem.CAA.urn, "b.test"),
    ]


@given(
    st.sampled_from(Problem),
    st.text(max_size=50),
    st.none() | st.text(max_size=20),
    st.lists(st.sampled_from(["ES256", "RS256"]), max_size=2),
)
def test_a_document_has_neither_nulls_nor_line_ends(problem, detail, name, algorithms) -> None:
    refused = Refused(
        problem,
        detail,
        identifier=name,
        algorithms=algorithms,
        subproblems=[Subproblem(problem.urn, detail)] if name else [],
    )
    encoded = as_json(refused)
    seen = msgspec.json.decode(encoded)
    assert b"\n" not in encoded
    assert None not in seen.values()
    assert None not in [value for part in seen.get("subproblems", []) for value in part.values()]
    assert (seen["type"], seen["detail"]) == (problem.urn, detail)
