"""Whom to write to about an account: mail addresses, each once. RFC 8555 section 7.3."""

import re
from collections.abc import Sequence

from certeasy.decide.identifiers import show
from certeasy.decide.problems import Problem, Refused

MOST = 10
LONGEST = 320
_SCHEME = "mailto:"
# One address: without the lists and header fields that RFC 6068 would let in.
_ADDRESS = re.compile(r"[^\s@,?%<>()\x00-\x1f\x7f]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)


def checked(sent: Sequence[str]) -> tuple[str, ...]:
    """Return the contacts that were sent, each once, in their order.

    Raises Refused: unsupportedContact for a scheme other than mailto, invalidContact for what is
    not one mail address, or for too many.
    """
    if len(sent) > MOST:
        raise Refused(Problem.INVALID_CONTACT, f"At most {MOST} contacts are taken")
    for contact in sent:
        if contact[: len(_SCHEME)].lower() != _SCHEME:
            detail = f'The contact "{show(contact)}" is not supported; only mailto: is'
            raise Refused(Problem.UNSUPPORTED_CONTACT, detail)
        address = contact[len(_SCHEME) :]
        if len(contact) > LONGEST or not address.isascii() or not _ADDRESS.fullmatch(address):
            detail = f'The contact "{show(contact)}" is not one mail address in ASCII'
            raise Refused(Problem.INVALID_CONTACT, detail)
    return tuple(dict.fromkeys(sent))
