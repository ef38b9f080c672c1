"""Which paths can be used without waiting for another machine or another process.

``chdir``, ``stat`` and ``exec`` on a network mount whose server is gone wait in the kernel, for
ever. A FUSE file system waits for its own process. The shim must not wait: it looks after other
jobs. So before it uses a path that a job names, it walks along it without touching such file
systems.
"""

import errno
import os
import select

MOUNTS = "/proc/self/mountinfo"

LOCAL = frozenset(
    b"apfs bcachefs bfs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts "
    b"devtmpfs efivarfs erofs exfat ext2 ext3 ext4 f2fs fusectl hfs hfsplus hugetlbfs iso9660 "
    b"jffs2 jfs minix mqueue msdos nilfs2 nsfs ntfs3 overlay proc pstore ramfs reiserfs rootfs "
    b"securityfs selinuxfs squashfs sysfs tmpfs tracefs ubifs udf ufs vfat xfs zfs zonefs".split()
)
"""Types of file systems that depend on nobody else. Every other type may wait for somebody."""

MOST_LINKS = 40
"""Symlinks that the kernel follows in one path."""


class Mounts:
    """The mount table, read again when the kernel says that it changed."""

    def __init__(self, table: str = MOUNTS) -> None:
        self.foreign: set[bytes] = {b"/"}
        """Mount points of file systems that are not local. All is, where there is no table."""
        try:
            self._table = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._table = -1
            if os.uname().sysname != "Linux":
                self.foreign = set()  # nothing is known there; it is as it was before
            return
        self._changes = select.poll()
        self._changes.register(self._table, select.POLLPRI)
        self._read()

    def _read(self) -> None:
        content = b""
        os.lseek(self._table, 0, os.SEEK_SET)
        while block := os.read(self._table, 1 << 16):
            content += block
        self.foreign = set(foreign_mounts(content))

    def refresh(self) -> None:
        """Read the table again if it changed."""
        if self._table >= 0 and self._changes.poll(0):
            self._read()

    def is_local(self, path: bytes) -> bool:
        """Whether nobody has to be waited for on the way to ``path``, and there.

        A path that cannot be followed counts as local: whoever uses it gets the error at once.
        """
        self.refresh()
        if not self.foreign:
            return True
        if not path.startswith(b"/"):
            return False
        at = b""
        left = [b"", *path.split(b"/")[::-1]]
        links = 0
        while left:
            part = left.pop()
            if part == b"..":
                at = at.rpartition(b"/")[0]
                continue
            here = at if part in (b"", b".") else at + b"/" + part
            if (here or b"/") in self.foreign:
                return False
            if here == at:
                continue
            try:
                target = os.readlink(here)
            except OSError as error:
                if error.errno != errno.EINVAL:  # it is no symlink
                    return True
                at = here
                continue
            links += 1
            if links > MOST_LINKS:
                return True
            if target.startswith(b"/"):
                at = b""
            left += target.split(b"/")[::-1]
        return True


def foreign_mounts(table: bytes) -> list[bytes]:
    """The mount points in a ``mountinfo`` of file systems that are not local."""
    found = []
    for line in table.splitlines():
        fields = line.split(b" ")
        if len(fields) > 6 and b"-" in fields[6:]:
            kind = fields[fields.index(b"-", 6) + 1]
            if kind not in LOCAL:
                found.append(_unescaped(fields[4]))
    return found


def _unescaped(text: bytes) -> bytes:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n")):
        text = text.replace(code, character)
    return text.replace(b"\\134", b"\\")
