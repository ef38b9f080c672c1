"""A disk that can be filled and made read-only: a small tmpfs, where one may be mounted."""

from __future__ import annotations

import subprocess
from pathlib import Path

SIZE = 24 << 20


class Unavailable(Exception):
    """No such disk can be set up here; the text says why."""


class Disk:
    """Mounted at ``path`` (made here) while entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def __enter__(self) -> Disk:
        self.path.mkdir(parents=True, exist_ok=True)
        options = f"size={SIZE},mode=700"
        self._mount("-t", "tmpfs", "-o", options, "tmpfs", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, capture_output=True)

    @staticmethod
    def _mount(*args: str) -> None:
        try:
            done = subprocess.run(["mount", *args], check=False, capture_output=True, text=True)
        except OSError as error:
            raise Unavailable(f"no small disk can be mounted: {error.strerror}") from error
        if done.returncode:
            raise Unavailable(f"no small disk can be mounted: {done.stderr.strip()}")

    def fill(self) -> None:
        """Leave not one byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def read_only(self, yes: bool) -> bool:
        """Make it read-only, or writable again; False while a file is open for writing."""
        try:
            self._mount("-o", f"remount,{'ro' if yes else 'rw'}", str(self.path))
        except Unavailable:
            return False
        return True
