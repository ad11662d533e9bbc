"""Names of hosts in TLS handshakes that are no text.

Before Python asks us which certificate goes with a name (SNI), it decodes the name as ASCII. Where
that fails it ends the handshake, rightly, and reports the error to `sys.unraisablehook`, which
writes a traceback to stderr, past every log: a line per packet, for whoever cares to send some.
The handshake tells us about it anyway, so that report is dropped, and no other one.
"""

import contextlib
import sys
from collections.abc import Iterator

NOT_DECODED = "CALLBACK_FAILED"
"""OpenSSL's reason for the end of such a handshake."""


@contextlib.contextmanager
def undecodable_names_dropped() -> Iterator[None]:
    """Drop these reports, of the whole process, until the block ends."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not is_of_a_name(unraisable):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        # Whoever came after us has us as their `before`, and stays.
        if sys.unraisablehook is hook:
            sys.unraisablehook = before


def is_of_a_name(unraisable: "sys.UnraisableHookArgs") -> bool:
    """Tell whether this is about a host's name: the bytes, or newer Pythons' words."""
    error = unraisable.exc_value
    if not isinstance(error, UnicodeDecodeError) or error.encoding != "ascii":
        return False
    return isinstance(unraisable.object, bytes) or "servername" in (unraisable.err_msg or "")
