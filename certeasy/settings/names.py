"""How a DNS name is written, and how a rule about names is written.

Names are LDH host names in lower case without the dot at the end (RFC 1123 section 2.1, RFC 5890
for the labels that begin with `xn--`). The four forms of a rule, N counting whole labels:

    .zone/N     names under the zone with 1 to N labels in front of it; no wildcard, not the zone
    *.zone      the wildcard at the zone, and nothing else
    *..zone/N   wildcards with 1 to N labels between the star and the zone; not the one at the zone
    =name       this name alone

The words are understood here, where the configuration can ask for them; what they permit is
decided in `certeasy.decide.scope`.
"""

import re
import unicodedata

from msgspec import Struct

LONGEST_NAME = 253
LONGEST_LABEL = 63
DEEPEST = 127
A_LABEL = "xn--"

# The depth is bounded so that int() never meets a number with thousands of digits.
_RULE = re.compile(r"(?P<star>\*\.|)\.(?P<zone>[^/]+)/(?P<depth>[0-9]{1,3})", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
# What browsers and resolvers take for the last part of an IPv4 address. WHATWG URL section 3.5.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_FORMS = "a rule is .zone/N, *.zone, *..zone/N or =name"


class NameRule(Struct, frozen=True):
    """A rule, understood: names with `least` to `most` labels in front of `zone`."""

    text: str
    """As it was written."""
    zone: str
    least: int
    most: int
    wildcard: bool
    """It speaks of `*.NAME` only; else of NAME only."""


def parse(text: str) -> NameRule:
    """Return what the rule says. ValueError: it is none of the four forms, in a sentence."""
    if text.startswith("="):
        return NameRule(text, _zone(text[1:]), 0, 0, wildcard=False)
    if text.startswith("*.") and not text.startswith("*.."):
        return NameRule(text, _zone(text[2:]), 0, 0, wildcard=True)
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(_hint(text))
    depth = int(found["depth"])
    if not 1 <= depth <= DEEPEST:
        raise ValueError(f"the depth after the slash must be 1 to {DEEPEST}")
    return NameRule(text, _zone(found["zone"]), 1, depth, wildcard=found["star"] != "")


def lowered(text: str) -> str:
    """Return an ASCII name in lower case; any other text as it is, which is no name's."""
    # Only ASCII is lowered: the Kelvin sign would become a k, and so another name.
    return text.lower() if text.isascii() else text


def canonical(text: str) -> str:
    """Return an ASCII name in lower case without one dot at the end; any other text as it is."""
    return lowered(text).removesuffix(".") if text.isascii() else text


def fault(name: str, star: str = "") -> str | None:
    """Return what is wrong with a canonical name, as the rest of a sentence; None: nothing is.

    `star` stands in front of the name in what should be sent instead.
    """
    if not name:
        return "is empty"
    if not name.isascii():
        return "is not ASCII" + _a_label_hint(name, star)
    if any(c.isspace() or not c.isprintable() for c in name):
        return "contains white space or control characters"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return "ends in a number, as IP addresses do, and so is no DNS name"
    return next((wrong for label in labels if (wrong := _label_fault(label))), None)


def _label_fault(label: str) -> str | None:
    """Return what is wrong with one label of a name; None: nothing is."""
    if not label:
        return "has an empty label (two dots in a row, or a dot in front)"
    if len(label) > LONGEST_LABEL:
        return f"has a label longer than {LONGEST_LABEL} characters"
    if label.startswith("-") or label.endswith("-"):
        return f'has the label "{label}", which begins or ends with a hyphen'
    if not _LABEL.fullmatch(label):
        return f'has the label "{label}", with characters other than letters, digits and hyphens'
    if label.startswith(A_LABEL) and not _is_a_label(label):
        return f'has the label "{label}", which begins with xn-- but is no encoded Unicode label'
    return None


def _is_a_label(label: str) -> bool:
    """Tell whether a label that begins with xn-- is the encoding of some Unicode label."""
    encoded = label.removeprefix(A_LABEL)
    try:
        decoded = encoded.encode("ascii").decode("punycode")
        again = decoded.encode("punycode").decode("ascii")
    except (UnicodeError, ValueError, OverflowError):
        return False
    stable = decoded.isprintable() and unicodedata.normalize("NFKC", decoded.lower()) == decoded
    return stable and not decoded.isascii() and again == encoded


def a_labels(text: str) -> str:
    """Return a name with Unicode labels in its A-label form; empty: it has none."""
    if len(text) > LONGEST_NAME:
        return ""
    # U+3002, U+FF0E and U+FF61 are dots too to who types them. RFC 3490 section 3.1.
    labels = re.split("[.\u3002\uff0e\uff61]", unicodedata.normalize("NFKC", text).lower())
    # Encoding takes the square of a label's length, and never makes one shorter.
    if any(len(label) > LONGEST_LABEL for label in labels):
        return ""
    encoded = ".".join(
        label if label.isascii() else A_LABEL + label.encode("punycode").decode("ascii")
        for label in labels
    ).removesuffix(".")
    return "" if fault(encoded) else encoded


def _a_label_hint(name: str, star: str) -> str:
    """Return how a name with Unicode labels should be sent; nothing if it cannot be."""
    encoded = a_labels(name)
    return f'; send its A-label form, "{star}{encoded}"' if encoded else ""


def _zone(text: str) -> str:
    """Return the name in a rule in its canonical form. ValueError: it is none."""
    name = canonical(text)
    if wrong := fault(name):
        raise ValueError(f"the name in it {wrong}")
    return name


def _hint(text: str) -> str:
    """Return what to write instead of a rule that is none of the four forms."""
    wrong = fault(canonical(text.removeprefix("*.").removeprefix(".")))
    if wrong is None and text.startswith((".", "*..")):
        return f"the depth is missing: {text}/N, with N labels at most in front of the zone"
    if wrong is None:
        return f"{_FORMS}; for this name alone write ={text}"
    return _FORMS
