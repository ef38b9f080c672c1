"""The visible part of an output of any size. Not a widget.

Some hundred kilobytes around the visible rows are read, cleaned and split into lines. More is read
when the screen comes near their end, so a gigabyte costs no more than a screen. The screen moves by
rows: a line is one row, or several when it is wrapped. Scrolling down from the beginning shows
every character once, for any bytes and any width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, split_graphemes

from queuectl_core.domain.text import clean_bytes
from queuectl_core.domain.times import format_bytes
from queuectl_core.operations.attempt_output import AttemptOutput, mark_room

READ = 128 * 1024
"""Bytes read at once."""

KEEP = 4 * READ
"""Bytes held, at most."""

LONGEST = 4096
"""Bytes of one line. A longer line is split between characters."""

TAB = 8

OUR_MARK = re.compile(rb"\[queuectl: (?:\d+ )?bytes (?:dropped|lost) here, [^\]\n]{1,60}\]\n?\Z")
"""What the shim writes into a file where something is missing."""


@dataclass(frozen=True, slots=True)
class OutputLine:
    """One line of output, cleaned; ``offset`` is where it starts in the file."""

    offset: int
    size: int
    text: str
    mark: bool = False
    """It says that something is missing here; the job did not write it."""
    continued: bool = False
    """It continues a line that was split."""


@dataclass(frozen=True, slots=True)
class OutputRow:
    """One row of the screen."""

    text: str
    mark: bool = False
    continued: bool = False
    """It continues the row before it."""


def cut(raw: bytes, offset: int) -> list[OutputLine]:
    """``raw``, which is at ``offset``, as lines of limited length."""
    lines = []
    for whole in _newlines(raw):
        body = whole.rstrip(b"\n").rstrip(b"\r")
        if b"\r" in body:
            lines.append(OutputLine(offset, len(whole), overwritten(body)))
            offset += len(whole)
            continue
        if len(whole) <= LONGEST:
            lines.append(OutputLine(offset, len(whole), clean_bytes(body).expandtabs(TAB)))
            offset += len(whole)
            continue
        start = 0
        while start < len(whole):
            end = boundary(whole, start + LONGEST)
            if end <= start or not whole[end:].strip(b"\r\n"):
                end = len(whole)
            text = clean_bytes(body[start:end]).expandtabs(TAB)
            lines.append(OutputLine(offset, end - start, text, continued=start > 0))
            offset, start = offset + end - start, end
    return lines


def _newlines(raw: bytes) -> list[bytes]:
    parts = raw.split(b"\n")
    whole = [part + b"\n" for part in parts[:-1]]
    return [*whole, parts[-1]] if parts[-1] else whole


def boundary(raw: bytes, at: int) -> int:
    """``at``, or the start of the UTF-8 character that contains ``at``."""
    if at >= len(raw):
        return len(raw)
    for start in range(at, max(-1, at - 4), -1):
        first = raw[start]
        if first & 0xC0 == 0x80:
            continue
        length = 2 if first >> 5 == 0b110 else 3 if first >> 4 == 0b1110 else 4
        if first < 0xC0 or start + length <= at:
            return at
        try:
            raw[start : start + length].decode()
        except UnicodeDecodeError:
            return at
        return start
    return at


def overwritten(body: bytes) -> str:
    """What a terminal shows of a line with carriage returns, each of which goes back to the
    start."""
    width = 0
    kept: list[str] = []
    # A later piece hides the earlier ones, which are most of a progress bar.
    for piece in reversed(clean_bytes(body).split("\n")):
        text = piece.expandtabs(TAB) if "\t" in piece else piece
        length = len(text) if text.isascii() else cell_len(text)
        if length > width:
            width = length
            kept.append(text)
    cells: list[str] = []
    for text in reversed(kept):
        at = 0
        for start, end, size in split_graphemes(text)[0]:
            if size == 0 and at:
                cells[at - 1] += text[start:end]
                continue
            if at < len(cells) and not cells[at]:
                cells[at - 1] = " "  # half of a wide character cannot be shown
            if at + size < len(cells) and not cells[at + size]:
                cells[at + size] = " "
            cells[at : at + size] = [text[start:end], *[""] * (size - 1)]
            at += size
    return "".join(cells)


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in rows of at most ``width`` cells, without losing anything."""
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)] or [""]
    rows, used, begin = [], 0, 0
    for start, _, size in split_graphemes(text)[0]:
        if used + size > width and start > begin:
            rows.append(text[begin:start])
            begin, used = start, 0
        used += size
    return [*rows, text[begin:]]


class OutputViewport:
    """The lines of ``output`` around the visible ones.

    ``top`` is the line of the first visible row, and ``sub`` which row of that line it is.
    """

    def __init__(self, output: AttemptOutput) -> None:
        self.lines: list[OutputLine] = []
        self.top = 0
        self.sub = 0
        self.height = 1
        self.width = 80
        self.wrap = False
        self.size = 0
        self.dropped = 0
        """Bytes in the middle that were dropped during writing."""
        self._hole = self._looked_at = (0, 0)
        self._mark_size = 0
        self._wrapped: dict[int, tuple[OutputLine, int, list[str]]] = {}
        self.output = output
        self.file = output.file_id()
        """What our places are in. The file is replaced when the attempt ends."""

    @property
    def output(self) -> AttemptOutput:
        return self._output

    @output.setter
    def output(self, output: AttemptOutput) -> None:
        self._output = output
        # A hole may still be there after the attempt, if no supervisor was left to remove it.
        self._source = output._replace(running=True) if output.path is not None else output

    @property
    def start(self) -> int:
        """The offset of the first line in memory."""
        return self.lines[0].offset if self.lines else 0

    @property
    def end(self) -> int:
        """The offset of their end."""
        return self.lines[-1].offset + self.lines[-1].size if self.lines else 0

    @property
    def place(self) -> int:
        return self.lines[self.top].offset if self.top < len(self.lines) else 0

    @property
    def at_end(self) -> bool:
        return self.end >= self.size and (self.top, self.sub) >= self._last_top()

    def visible(self) -> Sequence[OutputRow]:
        rows: list[OutputRow] = []
        for at in range(self.top, len(self.lines)):
            line = self.lines[at]
            for number, text in enumerate(self._rows_of(line)):
                if at > self.top or number >= self.sub:
                    rows.append(OutputRow(text, line.mark, line.continued or number > 0))
                if len(rows) == self.height:
                    return rows
        return rows

    def _rows_of(self, line: OutputLine) -> list[str]:
        if not self.wrap or line.mark:
            return [line.text]
        width = max(2, self.width)
        known = self._wrapped.get(line.offset)
        if known is not None and known[0] is line and known[1] == width:
            return known[2]
        if len(self._wrapped) > 1000:
            self._wrapped.clear()
        rows = wrapped(line.text, width)
        self._wrapped[line.offset] = (line, width, rows)
        return rows

    def fraction(self) -> float:
        """The position of the top line, 0 to 1."""
        if not self.lines or not self.size:
            return 0.0
        return self.lines[min(self.top, len(self.lines) - 1)].offset / self.size

    def _last_top(self) -> tuple[int, int]:
        """The top row with which the last line in memory is at the bottom of the screen."""
        missing = self.height
        for at in range(len(self.lines) - 1, -1, -1):
            count = len(self._rows_of(self.lines[at]))
            if count >= missing:
                return at, count - missing
            missing -= count
        return 0, 0

    def go_first(self) -> None:
        self._measure()
        self.lines = self._read(0, READ)
        self.top = self.sub = 0
        self._read_down()

    def go_last(self) -> None:
        self._measure()
        self.lines = self._read(max(0, self.size - READ), self.size)
        self._read_up_to_a_screen()
        self.top, self.sub = self._last_top()

    def go_to(self, offset: int) -> None:
        """Show the line that holds the byte at ``offset``."""
        self._measure()
        begin = max(0, min(offset, self.size) - READ // 2)
        self.lines = self._read(begin, begin + READ)
        self.top = max(
            (at for at, line in enumerate(self.lines) if line.offset <= offset), default=0
        )
        self.sub = 0
        self._settle()

    def rewrap(self, *, wrap: bool) -> None:
        """Wrap long lines, or do not; the same line stays at the top."""
        self.wrap, self.sub = wrap, 0
        self._settle()

    def move(self, rows: int) -> None:
        while rows < 0 and self.lines:
            step = min(-rows, self.sub)
            self.sub -= step
            rows += step
            if rows == 0 or (self.top == 0 and not self._read_before()):
                break
            self.top -= 1
            self.sub = len(self._rows_of(self.lines[self.top])) - 1
            rows += 1
        while rows > 0 and self.lines:
            left = len(self._rows_of(self.lines[self.top])) - 1 - self.sub
            step = min(rows, left)
            self.sub += step
            rows -= step
            if rows == 0 or (self.top + 1 >= len(self.lines) and not self._read_after()):
                break
            self.top += 1
            self.sub = 0
            rows -= 1
        self._settle()

    def _settle(self) -> None:
        """Read enough for a full screen, and leave no blank rows if there are rows above."""
        self._read_down()
        if self.end >= self.size:
            self._read_up_to_a_screen()
            self.top, self.sub = min((self.top, self.sub), self._last_top())
        if self.top < len(self.lines):
            self.sub = min(self.sub, len(self._rows_of(self.lines[self.top])) - 1)

    def _read_down(self) -> None:
        while self.top + 2 * self.height > len(self.lines) and self._room:
            if not self._read_after():
                return

    def _read_up_to_a_screen(self) -> None:
        while self._last_top() == (0, 0) and self._room:
            if not self._read_before():
                return

    @property
    def _room(self) -> bool:
        # A progress bar may be a gigabyte in one row: do not read it all to fill the screen.
        return self.end - self.start - self.dropped < KEEP

    def _read_before(self) -> bool:
        """Read the lines before. False when there are none."""
        if self.start <= 0:
            return False
        stop = self.start
        before = self._read(max(0, stop - READ), stop)
        if not before:
            return False
        self.lines = before + self.lines
        self.top += len(before)
        self._trim(from_start=False)
        return True

    def _read_after(self) -> bool:
        """Read the lines after. False when there are none."""
        if self.end >= self.size:
            return False
        more = self._read(self.end, min(self.size, self.end + READ))
        if not more:
            return False
        self.lines += more
        self._trim(from_start=True)
        return True

    def _measure(self) -> None:
        self.size = self._source.size()
        begin, end = self._source.hole()
        if begin >= end:
            begin, end = 0, 0
        self.dropped = end - begin
        if begin and (begin, end) != self._looked_at:
            # The mark that the shim writes before the hole says less than ours, which replaces it.
            before = self._source.read(max(0, begin - mark_room()), min(begin, mark_room()))
            mark = OUR_MARK.search(before)
            self._mark_size = len(before) - mark.start() if mark else 0
        self._looked_at = begin, end
        self._hole = (begin - self._mark_size, end) if begin else (0, end)

    def grown(self) -> bool:
        """Read what was written meanwhile. True when there was something."""
        size, hole = self.size, self._hole
        self._measure()
        if self.size == size and self._hole == hole:
            return False
        if self.size < size:  # a new file under the same name
            self.go_first()
            return True
        if self._hole != hole:
            self._mend()
        if self.end >= size:
            self._append()
        return True

    def _append(self) -> None:
        """Read what was written after the last line, which may have been incomplete."""
        last = self.lines.pop() if self.lines and not self.lines[-1].mark else None
        start = self.end if last is None else last.offset
        self.lines += self._read(start, min(self.size, start + READ), aligned=True)
        self._trim(from_start=True)
        if self.lines:
            self.top = min(self.top, len(self.lines) - 1)

    def _mend(self) -> None:
        """Replace lines that were dropped meanwhile with a mark."""
        begin, end = self._hole
        top = self.lines[self.top].offset if self.top < len(self.lines) else 0
        before = [line for line in self.lines if line.offset + line.size <= begin]
        after = [line for line in self.lines if line.offset >= end and not line.mark]
        gap = [self._gap()] if before or after else []
        if self.lines and not (before or after):  # all lines in memory were dropped
            self.lines = self._read(end, min(self.size, end + READ))
        elif before and not after:
            self.lines = [*before, *gap, *self._read(end, min(self.size, end + READ))]
        elif after and not before and self.start >= begin:
            self.lines = after
        else:
            self.lines = [*before, *gap, *after]
        self.top = max((at for at, one in enumerate(self.lines) if one.offset <= top), default=0)
        self.sub = 0

    def _gap(self) -> OutputLine:
        begin, end = self._hole
        text = f"── {format_bytes(self.dropped)} dropped here, to keep within output-limit ──"
        return OutputLine(begin, end - begin, text, mark=True)

    def _read(self, start: int, end: int, *, aligned: bool = False) -> list[OutputLine]:
        """The lines from ``start`` to ``end``, with a mark for dropped bytes."""
        begin, stop = self._hole
        if begin >= stop or end <= begin or start >= stop:
            return self._read_piece(start, end, aligned=aligned)
        before = self._read_piece(start, begin, aligned=aligned) if start < begin else []
        after = self._read_piece(stop, end, aligned=True) if stop < end else []
        return [*before, self._gap(), *after]

    def _read_piece(self, start: int, end: int, *, aligned: bool) -> list[OutputLine]:
        """The lines from ``start`` to ``end``, without an incomplete line at the start.

        An incomplete last line is kept at the end of the output, or if it is the only line.
        """
        aligned = aligned or start in (0, self.end, self._hole[1])
        early = 0 if aligned else min(3, start)
        raw = self._source.read(start - early, end - start + early)
        if not aligned:
            skip = boundary(raw, early)
            start, raw = start - early + skip, raw[skip:]
            if start > 0 and self._source.read(start - 1, 1) != b"\n":
                found = raw.find(b"\n")
                if not 0 <= found < len(raw) - 1:
                    found = raw.find(b"\r")
                if 0 <= found < len(raw) - 1:
                    start, raw = start + found + 1, raw[found + 1 :]
        if end < self.size and end not in (self.start, self._hole[0]):
            newline = raw.rfind(b"\n")
            if newline >= 0:
                raw = raw[: newline + 1]
            else:
                # The next bytes decide whether the last character is complete.
                whole = boundary(raw + self._source.read(start + len(raw), 3), len(raw))
                raw = raw[: whole or len(raw)]
        return self._marked(cut(raw, start), raw, start)

    def _marked(self, lines: list[OutputLine], raw: bytes, start: int) -> list[OutputLine]:
        """``lines``, with the shim's notes about missing bytes turned into marks."""
        output = self.output
        incomplete = self.dropped or (not output.running and output.total != self.size)
        if not incomplete or b"[queuectl: " not in raw:
            return lines
        found = []
        for line in lines:
            at = line.offset - start
            is_mark = OUR_MARK.fullmatch(raw[at : at + line.size])
            found.append(
                replace(line, text=f"── {line.text[11:-1]} ──", mark=True) if is_mark else line
            )
        return found

    def _trim(self, *, from_start: bool) -> None:
        while self.end - self.start > KEEP + self.dropped and len(self.lines) > 4 * self.height:
            drop = len(self.lines) // 4
            if from_start and self.top > drop:
                del self.lines[:drop]
                self.top -= drop
            elif not from_start and self.top + 2 * self.height < len(self.lines) - drop:
                del self.lines[-drop:]
            else:
                return
