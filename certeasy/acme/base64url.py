"""The base64 of ACME: the URL alphabet, no padding, and one spelling per value.

RFC 8555 section 6.1 forbids padding; RFC 7515 section 2 defines the rest. The unused bits of the
last character must be zero, or sixteen spellings of one signature or nonce would pass for sixteen.
"""

import base64
import binascii

from certeasy.decide.problems import Problem, Refused

# The other alphabet's characters become ones that no alphabet has.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/***")


def encode(data: bytes) -> str:
    """Return `data` as unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str, what: str) -> bytes:
    """Return the bytes that `text` stands for; `what` names it in the refusal.

    Raises Refused (malformed) for padding, another alphabet, a cut-off or second spelling.
    """
    data = decoded(text)
    if data is None:
        raise Refused(Problem.MALFORMED, f"{what} is not unpadded base64url: {_hint(text)}")
    return data


def decoded(text: str) -> bytes | None:
    """Return the bytes that `text` stands for, or None if it is not their one spelling."""
    try:
        raw = text.encode("ascii")
        padded = raw.translate(_TO_STANDARD) + b"=" * (-len(raw) % 4)
        data = binascii.a2b_base64(padded, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    # The bits of the last character that stand for nothing must be zero.
    tail = len(raw) % 4
    if tail and binascii.b2a_base64(data[1 - tail :], newline=False)[:tail] != padded[-4:][:tail]:
        return None
    return data


def _hint(text: str) -> str:
    if any(char.isspace() for char in text):
        return "it has spaces or line ends in it"
    if "=" in text:
        return "it is padded with '='"
    if "+" in text or "/" in text:
        return "it uses '+' or '/' where the URL alphabet has '-' and '_'"
    if len(text) % 4 == 1:
        return "it is cut off, its length cannot be"
    return "a character is not of the alphabet, or the last one carries stray bits"
