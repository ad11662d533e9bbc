"""The form of what a domain says about a CA: `issuer.example; tag=value; tag=value`.

RFC 8659 section 4.2, which CAA records use, and TXT records of dns-persist-01 too.
"""

import re

import msgspec

LONGEST = 4096
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ISSUER = re.compile(rf"[ \t]*((?:{_LABEL}(?:\.{_LABEL})*\.?)?)[ \t]*")
_VALUE = r"[\x21-\x3a\x3c-\x7e]*"
_PARAMETER = re.compile(rf"[ \t]*({_LABEL})=({_VALUE})[ \t]*")


class IssueValue(msgspec.Struct, frozen=True):
    """What was said: for which issuer (in lower case; "" for none), under which conditions.

    Tags are in lower case; each may have been given several times.
    """

    issuer: str
    parameters: tuple[tuple[str, str], ...] = ()

    def given(self, tag: str) -> tuple[str, ...]:
        """Return every value of a tag."""
        return tuple(value for name, value in self.parameters if name == tag)


def parse(value: bytes) -> IssueValue:
    """Understand a value. ValueError: it is none."""
    if len(value) > LONGEST:
        raise ValueError("is too long")
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("has characters that are not ASCII") from None
    first, *rest = text.split(";")
    issuer = _ISSUER.fullmatch(first)
    if issuer is None:
        raise ValueError("begins with no domain name")
    parameters = []
    for part in rest:
        if not part.strip(" \t"):
            continue  # a semicolon at the end, or alone: `;` says that nobody may issue
        found = _PARAMETER.fullmatch(part)
        if found is None:
            raise ValueError("has a parameter that is not tag=value")
        parameters.append((found[1].lower(), found[2]))
    return IssueValue(issuer[1].lower().removesuffix("."), tuple(parameters))
