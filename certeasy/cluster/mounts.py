"""Whether a file lies on a disk of this host, or on one that it reaches over the network."""

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")  # proc(5)
NETWORK = frozenset(
    "9p afs beegfs ceph cifs coda fuse.glusterfs fuse.s3fs fuse.sshfs gfs2 glusterfs lustre ncpfs"
    " nfs nfs4 ocfs2 smb3 smbfs".split()
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_REMOTE = 4  # GetDriveTypeW: DRIVE_REMOTE


def network_file_system(path: Path) -> str | None:
    """Return the kind of network file system that a file is on, or will be; None if it is local.

    None, too, where the system does not tell.
    """
    if os.name == "nt":
        return _windows_share(path)
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = kind_of(path.resolve(), mounts)
    return kind if kind in NETWORK else None


def kind_of(path: Path, mounts: str) -> str:
    """Return the kind of the file system that a path is on; empty where no mount is told for it.

    `mounts` is what /proc/self/mountinfo holds. Of two mounts at one place the later one counts.
    """
    deepest, kind = -1, ""
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:  # noqa: PLR2004 - the fifth is the mount's place
            continue
        place = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        if path.is_relative_to(place) and len(place.parts) >= deepest:
            deepest, kind = len(place.parts), after.split(" ")[0]
    return kind


def _windows_share(path: Path) -> str | None:
    import ctypes  # noqa: PLC0415 - only there

    anchor = path.absolute().anchor
    if anchor.startswith("\\\\"):
        return "a share"
    drives = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    return "a network drive" if drives.GetDriveTypeW(anchor) == _REMOTE else None
