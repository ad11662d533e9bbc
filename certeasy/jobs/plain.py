"""Texts from outside, as the log can keep them."""

LONGEST = 2000
"""Characters: what an authority says about a request fits in."""


def plain(text: str, most: int = LONGEST) -> str:
    """Return a text bounded, without NUL and halves of characters."""
    return text[:most].replace("\0", "").encode("utf-8", "replace").decode()
