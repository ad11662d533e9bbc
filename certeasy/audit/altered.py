"""What other programs make of a journal on its way: still known for what it was, and not its bytes.

A journal is proven byte for byte, so each of these is a break; whoever sent the file can send it
once more as it is.
"""

from pathlib import Path

_LOOK = 1 << 18
_MARKS = (
    (b"\x1f\x8b", "it is compressed (gzip): unpack it, and give what was in it"),
    (b"PK\x03\x04", "it is a zip file: unpack it, or give evidence with --evidence"),
    (b"\xef\xbb\xbf", "an editor has put a byte order mark before it: give the file as it was"),
    (b"\xff\xfe", "it was written anew as UTF-16: give the file as it was"),
    (b"\xfe\xff", "it was written anew as UTF-16: give the file as it was"),
)


def altered(path: Path) -> str:
    """Return what a file looks like that should be a journal, and what to do; empty: like one."""
    try:
        with path.open("rb") as file:
            first = file.readline(_LOOK)
    except OSError:
        return ""
    for mark, meaning in _MARKS:
        if first.startswith(mark):
            return meaning
    if first.endswith(b"\r\n"):
        return (
            "its lines end as a text file's of Windows do (CR LF): it was copied as text; give a"
            " copy that was made byte for byte"
        )
    return ""
