"""How deep JSON is nested, told without reading it.

A reader of JSON gives up where the stack ends, and that is somewhere else in every version of
Python. What one installation has taken all others must take, too; so there is a bound of our own.
"""

import re
from itertools import accumulate

# Possessive and without a need for its closing quote: no text is gone through twice.
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def deeper_than(most: int, json: bytes) -> bool:
    """Return whether objects and lists stand in each other more than `most` deep.

    Of what is not JSON it tells something, and raises nothing.
    """
    # Nearly everything has fewer brackets than that, and needs no closer look.
    if json.count(b"[") + json.count(b"{") <= most:
        return False
    brackets = _TEXTS.sub(b"", json).translate(None, _NO_BRACKETS)
    return any(depth > most for depth in accumulate(map(_STEPS.__getitem__, brackets)))
