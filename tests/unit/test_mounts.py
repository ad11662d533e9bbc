"""SQLite's file belongs on a disk of this host."""

import pytest

from certeasy.cluster import mounts
from certeasy.cluster.boot import BootRefused
from tests.make.node import a_node

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /srv rw shared:2 - nfs4 nas:/srv rw
31 30 0:27 / /srv/local rw - xfs /dev/sdb1 rw
32 22 0:28 / /with\040blank rw - cifs //nas/share rw
33 22 0:29 / /mnt rw - tmpfs tmpfs rw
34 22 0:30 / /mnt rw - fuse.sshfs host:/ rw
not a line of it
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/certeasy/db.sqlite", "ext4"),
        ("/srv/db.sqlite", "nfs4"),
        ("/srvx/db.sqlite", "ext4"),
        ("/srv/local/db.sqlite", "xfs"),
        ("/with blank/db.sqlite", "cifs"),
        ("/mnt/db.sqlite", "fuse.sshfs"),
    ],
)
def test_the_deepest_and_latest_mount_counts(tmp_path, path, kind):
    assert mounts.kind_of(tmp_path.__class__(path), MOUNTS) == kind


def test_where_nothing_is_told_nothing_is_said(tmp_path, monkeypatch):
    assert mounts.kind_of(tmp_path, "") == ""
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "absent")
    assert mounts.network_file_system(tmp_path) is None


def test_this_machine_s_own_disk_is_local(tmp_path):
    assert mounts.network_file_system(tmp_path / "db.sqlite") is None


def test_a_database_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    told = tmp_path / "mountinfo"
    told.write_text(f"1 1 0:1 / {tmp_path} rw - nfs4 nas:/x rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", told)
    with (
        pytest.raises(BootRefused, match=r"on a network file system \(nfs4\)"),
        a_node(tmp_path / "node"),
    ):
        pass
    assert not (tmp_path / "node" / "db.sqlite").exists()
