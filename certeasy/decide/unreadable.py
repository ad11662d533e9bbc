"""What the library raises about certificates and requests whose extensions it cannot read.

Its documents name the first few. The others were found by giving it any bytes: a TLS feature of a
number that it has no name for is a KeyError, an empty list of them a TypeError. Whoever reads what
strangers made expects all of these, so that no stranger has us fail.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def told(error: Exception) -> str:
    """Return what was wrong, for a message of one line."""
    words = " ".join(str(error).split())
    if isinstance(error, KeyError):
        return f"a value without a name, {words}"
    return ascii(words)[1:-1] or type(error).__name__
