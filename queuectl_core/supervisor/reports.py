"""What an attempt gets and reports through files: standard input, progress, result.

The files are in ``run/attempts``, which only our user may use. Their names are those of the attempt
in the journal (``SEQ.RUN``), so that a supervisor that adopts the attempt finds them.

- ``SEQ.RUN.stdin``: written before the attempt starts. The shim opens it and removes its name, so
  nothing is left whatever happens to the job. A pipe would not do: a job need not read, and nobody
  may wait for it.
- ``SEQ.RUN.progress``, ``SEQ.RUN.result``: the job may write them (QUEUECTL_PROGRESS,
  QUEUECTL_RESULT). The supervisor reads them and removes them once the store has what they say.

The job decides what is there: a symbolic link, a FIFO, a file without end. So a file is opened in a
way that follows no link and waits for nobody, only regular files are read, and only their
beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ..domain.claims import Report
from ..domain.model import Filter, State
from ..domain.text import clean_line
from ..domain.times import format_bytes
from ..runner import ATTEMPT_FILES as FOLDER
from ..runner import lease_clock
from ..store.protocol import Store

Progress = tuple[float, str | None]
"""Percent, and a line of text."""

INPUT, PROGRESS, RESULT = "stdin", "progress", "result"
DRAFT = f"{PROGRESS}.tmp"
"""A progress that ``queuectl progress`` is writing, or was writing when it was killed."""
_NAME = re.compile(r"(\d{1,18})\.(\d{1,9})\.(?:stdin|progress|result)(?:\..*)?", re.ASCII)
_PROGRESS = re.compile(r"\s*(\d{1,3}(?:\.\d{0,30})?)\s*%?(?:\s+(.*))?", re.ASCII)

MAX_PROGRESS = 1000
"""Bytes that are read of a progress."""
MAX_TEXT = 200
"""Characters of its text."""
MAX_RESULT = 64 * 1024
"""Bytes of a result."""
EMPTY_TURNS, EMPTY_PAUSE = 10, 0.002
"""How often files that are empty are read in one look, and the seconds between."""
SWEPT_AT_ONCE = 500
SETTLED_NS = 1_000_000_000
"""Nanoseconds after which a further change of a folder certainly gets another time."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def base_name(run_directory: str, token: str) -> str:
    """How the paths of an attempt's files begin."""
    return f"{run_directory}/{FOLDER}/{token}"


def make_folder(run_directory: Path) -> None:
    """Make the folder if it is missing. OSError if that fails."""
    folder = run_directory / FOLDER
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)


def write_inputs(run_directory: Path, inputs: Mapping[str, bytes]) -> None:
    """Write the standard input of attempts, by token. OSError if that fails; then none is left."""
    make_folder(run_directory)
    written: list[str] = []
    try:
        for token, text in inputs.items():
            path = f"{base_name(str(run_directory), token)}.{INPUT}"
            written.append(path)
            _remove(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(text)
    except OSError:
        for path in written:
            _remove(path)
        raise


def drop_input(base: str) -> None:
    """The attempt was not started: it needs no input."""
    _remove(f"{base}.{INPUT}")


class Folder:
    """Tells which attempts have reported something.

    Most attempts report nothing, and looking for the files of each would take a tenth of the
    supervisor's time. So one look at the time of the folder's last change serves all attempts that
    had ended by then.
    """

    def __init__(self, run_directory: str) -> None:
        self._path = f"{run_directory}/{FOLDER}"
        self._looked = float("-inf")
        self._listed: int | None = None
        """The last change of the folder when it was listed."""
        self._empty = False

    def any_reported(self, base: str, ended: float) -> bool:
        """Whether the attempt that ended then (by ``lease_clock``) has reported something, or was
        about to."""
        if ended >= self._looked:
            self._look()
        if self._empty:
            return False
        return any(os.path.lexists(f"{base}.{kind}") for kind in (RESULT, PROGRESS, DRAFT))

    def _look(self) -> None:
        self._looked = lease_clock()
        try:
            changed = os.stat(self._path).st_mtime_ns
            if changed == self._listed:
                return
            self._empty, self._listed = False, None
            # Soon after a change, another one may get the same time.
            if abs(time.time_ns() - changed) > SETTLED_NS:
                self._empty, self._listed = not os.listdir(self._path), changed
        except OSError:
            self._empty, self._listed = False, None


def read_report(base: str, known: Progress | None) -> Report | None:
    """What an attempt that has ended reported; None: nothing. ``known``: the progress that
    the store has."""
    result, progress = _read_result(f"{base}.{RESULT}"), read_progress(f"{base}.{PROGRESS}")
    if progress is None or progress == known:
        return None if result is None else Report(result=result)
    return Report(*progress, result)


def remove(base: str) -> None:
    """The store has what the attempt reported."""
    for kind in (DRAFT, PROGRESS, RESULT, INPUT):
        _remove(f"{base}.{kind}")


def read_all_progress(run_directory: Path, tokens: Collection[str]) -> dict[str, Progress]:
    """The progress of those of these attempts that have reported one. Most jobs report none, so the
    folder is nearly always empty."""
    found: dict[str, Progress] = {}
    try:
        names = os.listdir(run_directory / FOLDER)
    except FileNotFoundError:
        make_folder(run_directory)  # somebody removed it
        return found
    parts = (name.rpartition(".") for name in names)
    waiting = [token for token, _, kind in parts if kind == PROGRESS and token in tokens]
    for turn in range(EMPTY_TURNS):
        empty: list[str] = []
        for token in waiting:
            read = _read(f"{base_name(str(run_directory), token)}.{PROGRESS}", MAX_PROGRESS)
            progress = _to_progress(read)
            if progress is not None:
                found[token] = progress
            elif read is not None and not read[0]:
                empty.append(token)
        # A shell empties the file before it writes to it. We may have come in between.
        waiting = empty
        if not waiting or turn == EMPTY_TURNS - 1:
            break
        time.sleep(EMPTY_PAUSE)
    return found


def read_progress(path: str) -> Progress | None:
    """The progress in a file; None: there is none, or it is not one."""
    return _to_progress(_read(path, MAX_PROGRESS))


def _to_progress(read: tuple[bytes, int] | None) -> Progress | None:
    return None if read is None else parse_progress(read[0].decode("utf-8", "replace"))


def parse_progress(text: str) -> Progress | None:
    """The progress in the first line of a text: ``PERCENT [TEXT]``; None: it is not one."""
    line = text.partition("\n")[0].rstrip("\r")
    match = _PROGRESS.fullmatch(line)
    if match is None or float(match[1]) > 100:
        return None
    said = clean_line((match[2] or "").strip(), MAX_TEXT)
    return float(match[1]), said or None


def _read_result(path: str) -> bytes | None:
    read = _read(path, MAX_RESULT + 1)
    if read is None:
        return None
    text, size = read
    if len(text) <= MAX_RESULT:
        return text
    has, most = format_bytes(size), format_bytes(MAX_RESULT)
    mark = f"\n[cut: the result has {has} bytes, the limit is {most}]"
    return cut(text, MAX_RESULT - len(mark.encode())) + mark.encode()


def cut(text: bytes, most: int) -> bytes:
    """At most so many bytes of UTF-8 text, without a part of a character at the end."""
    end = most
    while end > most - 4 and end > 0 and len(text) > end and text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end] if len(text) <= end or text[end] & 0xC0 != 0x80 else text[:most]


def _read(path: str, most: int) -> tuple[bytes, int] | None:
    """The beginning of a regular file, and its size; None: there is none."""
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        text = b""
        while len(text) < most and (more := os.read(fd, most - len(text))):
            text += more
        return text, found.st_size
    except OSError:
        return None
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


# -- files that nobody needs any more ----------------------------------------------------------

Found = dict[tuple[int, int], list[tuple[str, tuple[int, int]]]]
"""By (seq, run): the names of files, with what tells each from a later one of that name."""


def attempt_files(run_directory: Path) -> Found:
    """The files of attempts."""
    found: Found = {}
    try:
        with os.scandir(run_directory / FOLDER) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is not None:
                    there = entry.stat(follow_symlinks=False)
                    key = int(match[1]), int(match[2])
                    found.setdefault(key, []).append((entry.path, _identity(there)))
    except OSError:
        pass  # there are none, or one was removed just now
    return found


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_mtime_ns


async def unneeded(store: Store, found: Found) -> Found:
    """Those of these files whose attempt does not run, and whose report the store has. The files
    must have been looked for before: an attempt is in the store before it has files."""
    seqs = sorted({seq for seq, _ in found})
    running: set[tuple[int, int]] = set()
    for start in range(0, len(seqs), SWEPT_AT_ONCE):
        part = tuple(seqs[start : start + SWEPT_AT_ONCE])
        where = Filter(states=(State.PROCESSING,), seqs=part)
        running.update((job.seq, job.runs) for job in await store.scan(where, len(part)))
    return {key: files for key, files in found.items() if key not in running}


async def sweep(store: Store, run_directory: Path) -> None:
    """Remove the files that nobody needs. StoreError when the store cannot be read."""
    found = await asyncio.to_thread(attempt_files, run_directory)
    if found:
        left = await unneeded(store, found)
        await asyncio.to_thread(remove_files, left.values())


def remove_files(found: Iterable[list[tuple[str, tuple[int, int]]]]) -> int:
    """Remove these files, if they are still the same. Returns how many."""
    removed = 0
    for files in found:
        for path, identity in files:
            with contextlib.suppress(OSError):
                if _identity(os.lstat(path)) == identity:
                    os.unlink(path)
                    removed += 1
    return removed
