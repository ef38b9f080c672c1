"""The type of a path's file system. SQLite's WAL needs one that only this host uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NETWORK = frozenset(
    (
        *("afpfs", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2"),
        *("glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb2", "smb3", "smbfs"),
        "webdav",
    )
)
"""File systems on which hosts do not share memory or locks. SQLite's WAL is not safe there."""
DOUBTFUL = frozenset(["9p", "drvfs", "fuse.grpcfuse", "fuse.osxfs", "vboxsf", "virtiofs"])
"""A directory of the host in a virtual machine. It is safe only from one side."""


def file_system_of(place: Path) -> str:
    """The type of the file system of ``place``; empty if unknown."""
    real = os.path.realpath(place)
    found, longest = "", -1
    for point, kind in _mounts():
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            found, longest = kind, len(point)
    return found


def _mounts() -> list[tuple[str, str]]:
    if sys.platform != "linux":
        import psutil

        return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    return [(_unescape(line.split(" ")[1]), line.split(" ")[2]) for line in lines]


def _unescape(point: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, char)
    return point
