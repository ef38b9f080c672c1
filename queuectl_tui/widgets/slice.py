"""Output of any size, looked at through a small slice of it. No widget.

A slice of some hundred kilobytes around what is visible is read, cleaned and cut into lines;
moving near its end reads the next one. A gigabyte costs what a screen costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import chop_cells

from queuectl_core.logs import Output
from queuectl_core.text import clean_bytes

READ = 128 * 1024
"""Bytes read at once."""

KEEP = 4 * READ
"""Bytes held, at most."""

LONGEST = 2_000
"""Bytes of a line that are shown on one line; the rest goes on the next."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, cleaned; ``offset`` is where it starts in the file."""

    offset: int
    size: int
    text: str


def cut(raw: bytes, offset: int) -> list[Line]:
    """``raw``, which starts a line at ``offset``, as lines of bounded length."""
    lines = []
    for whole in _newlines(raw):
        for start in range(0, len(whole), LONGEST):
            part = whole[start : start + LONGEST]
            text = clean_bytes(part.rstrip(b"\r\n")).replace("\n", "⏎").expandtabs(8)
            lines.append(Line(offset, len(part), text))
            offset += len(part)
    return lines


def _newlines(raw: bytes) -> list[bytes]:
    parts = raw.split(b"\n")
    whole = [part + b"\n" for part in parts[:-1]]
    return [*whole, parts[-1]] if parts[-1] else whole


class Slice:
    """The lines of ``output`` around the visible ones; ``top`` is the first visible one."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.lines: list[Line] = []
        self.top = 0
        self.height = 1
        self.width = 80
        self.wrap = False
        self.size = 0

    # -- what is visible ------------------------------------------------------------------

    @property
    def start(self) -> int:
        """Where the slice starts, in bytes."""
        return self.lines[0].offset if self.lines else 0

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.lines[-1].offset + self.lines[-1].size if self.lines else 0

    @property
    def at_end(self) -> bool:
        """Whether the last line there is is visible."""
        return self.end >= self.size and self.top >= self._last_top()

    def rows(self) -> Sequence[str]:
        """The lines on the screen, wrapped if that is wanted."""
        if not self.wrap:
            return [line.text for line in self.lines[self.top : self.top + self.height]]
        rows: list[str] = []
        for line in self.lines[self.top :]:
            rows += chop_cells(line.text, max(1, self.width)) or [""]
            if len(rows) >= self.height:
                break
        return rows[: self.height]

    def fraction(self) -> float:
        """How far down the top line is, 0 to 1."""
        if not self.lines or not self.size:
            return 0.0
        return self.lines[min(self.top, len(self.lines) - 1)].offset / self.size

    def _last_top(self) -> int:
        """The top line that shows the end of the slice at the bottom of the screen."""
        if not self.wrap:
            return max(0, len(self.lines) - self.height)
        rows = 0
        for at in range(len(self.lines) - 1, -1, -1):
            rows += max(1, len(chop_cells(self.lines[at].text, max(1, self.width))))
            if rows > self.height:
                return at + 1
            if rows == self.height:
                return at
        return 0

    # -- moving ---------------------------------------------------------------------------

    def go_first(self) -> None:
        """Show the beginning."""
        self.size = self.output.size()
        self.lines = self._read(0, READ)
        self.top = 0

    def go_last(self) -> None:
        """Show the end."""
        self.size = self.output.size()
        self.lines = self._read(max(0, self.size - READ), self.size)
        self.top = self._last_top()

    def move(self, rows: int) -> None:
        """Move the screen, reading on where the slice ends."""
        self.top += rows
        while self.top < self.height and self.start > 0:
            begin, end = self.output.hole()
            stop = begin if begin < self.start <= end else self.start
            before = self._read(max(0, stop - READ), stop)
            if not before:
                break
            self.lines = before + self.lines
            self.top += len(before)
            self._trim(from_start=False)
        if self.top + 2 * self.height > len(self.lines) and self.end < self.size:
            begin, end = self.output.hole()
            next_ = end if begin <= self.end < end else self.end
            self.lines += self._read(next_, min(self.size, next_ + READ))
            self._trim(from_start=True)
        self.top = max(0, min(self.top, self._last_top() if self.lines else 0))

    def grown(self) -> bool:
        """Take in what was written since; True when something was."""
        size = self.output.size()
        if size == self.size:
            return False
        if size < self.size:  # a new file under the same name
            self.go_first()
            return True
        was_at_end = self.end >= self.size
        self.size = size
        if was_at_end:
            if size - self.end > READ:
                self.go_last()
                return True
            if self.lines:  # the last line may have been cut in the middle
                last = self.lines.pop()
                self.lines += self._read(last.offset, size)
            else:
                self.lines = self._read(0, size)
            self._trim(from_start=True)
        return True

    def _read(self, start: int, end: int) -> list[Line]:
        """The lines from ``start`` to ``end``, without what was dropped from a long output."""
        begin, stop = self.output.hole()
        if start < stop and begin < end:
            before = self._read_piece(start, begin) if start < begin else []
            return before + (self._read_piece(stop, end) if stop < end else [])
        return self._read_piece(start, end)

    def _read_piece(self, start: int, end: int) -> list[Line]:
        """The lines from ``start`` to ``end``; a line cut at the start is left out.

        What ends in the middle of a line is kept when it is the end of everything, and cut
        back to whole lines otherwise, unless there is none.
        """
        raw = self.output.read(start, end - start)
        if start > 0 and start != self.end and self.output.read(start - 1, 1) != b"\n":
            newline = raw.find(b"\n")
            if 0 <= newline < len(raw) - 1:
                start += newline + 1
                raw = raw[newline + 1 :]
        if end < self.size and end != self.start:
            newline = raw.rfind(b"\n")
            if newline >= 0:
                raw = raw[: newline + 1]
        return cut(raw, start)

    def _trim(self, *, from_start: bool) -> None:
        while self.end - self.start > KEEP and len(self.lines) > 4 * self.height:
            drop = len(self.lines) // 4
            if from_start and self.top > drop:
                del self.lines[:drop]
                self.top -= drop
            elif not from_start and self.top + 2 * self.height < len(self.lines) - drop:
                del self.lines[-drop:]
            else:
                return
