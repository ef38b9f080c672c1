"""The output of an attempt: parts of it as text, and what is added while it runs."""

from __future__ import annotations

import asyncio
import codecs
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Job
from queuectl_core.domain.text import clean_block
from queuectl_core.operations.attempt_output import AttemptOutput
from queuectl_core.queue import Queue

from .live import KEEP_ALIVE, Live

WINDOW = 32 << 10
"""Bytes of output on a page, at most. A page stays below 60 KB."""

SEARCH_STEP = 1 << 20
SEARCH_LIMIT = 16 << 20
"""Bytes that one request searches, at most."""

POLL = 0.25
"""Seconds between looks at the file of a running attempt that somebody follows."""

LOOK = 1.0
"""Seconds between looks at its job."""

MOST_MARKS = 200


@dataclass(frozen=True, slots=True)
class OutputPage:
    """A part of an output."""

    number: int
    """The attempt; 0: the job has not run."""
    pieces: Sequence[tuple[str, bool]]
    """(text, whether it is what was searched for)."""
    begin: int
    end: int
    size: int
    running: bool
    missing: str
    """What cannot be shown, in words."""
    found: int | None
    """Where the searched text is; -1: not found. None: nothing was searched."""
    searched_to: int

    @property
    def earlier(self) -> int | None:
        """Where the page before begins; None: this is the first one."""
        return max(0, self.begin - WINDOW) if self.begin else None

    @property
    def later(self) -> int | None:
        """Where the next page begins; None: this is the last one."""
        return self.end if self.end < self.size else None


async def read_output(
    queue: Queue, job: Job, number: int | None, offset: int | None, find: str = ""
) -> OutputPage:
    """The part at ``offset`` (None: the end) of attempt ``number`` (None: the latest). ``find``:
    the part that begins with the line in which this text is next, from ``offset`` on (None: from
    the start)."""
    output = await queue.output(job, number)
    return await asyncio.to_thread(_read, output, offset, find)


def _read(output: AttemptOutput, offset: int | None, find: str) -> OutputPage:
    size = output.size()
    found: int | None = None
    searched_to = 0
    if find:
        found, searched_to = _search(output, offset or 0, size, find)
        if found >= 0:
            offset = _line_start(output, found)
    begin = _whole_line(output, size) if offset is None else min(offset, size)
    begin, data = read_on(output, begin)
    end = begin + len(data)
    if end < size:  # at a line's end, or at least not within a character
        cut = data.rfind(b"\n") + 1
        data = data[: cut if cut > len(data) // 2 else _whole_characters(data)]
        end = begin + len(data)
    text = clean_block(data.decode("utf-8", "backslashreplace"))
    return OutputPage(
        output.number,
        _marked(text, find),
        begin,
        end,
        size,
        output.running and output.number > 0,
        output.missing,
        found,
        searched_to,
    )


def _whole_line(output: AttemptOutput, size: int) -> int:
    """The begin of the last page: after the end of a line, if there is one nearby."""
    begin = max(0, size - WINDOW)
    if not begin:
        return 0
    head = output.read(begin, 4096)
    return begin + head.find(b"\n") + 1


def _line_start(output: AttemptOutput, offset: int) -> int:
    begin = max(0, offset - 4096)
    return begin + output.read(begin, offset - begin).rfind(b"\n") + 1


def _whole_characters(data: bytes) -> int:
    """The length without a character that is cut at the end."""
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] & 0xC0 == 0xC0:
            return len(data) - back
        if data[-back] < 0x80:
            break
    return len(data)


def _search(output: AttemptOutput, offset: int, size: int, find: str) -> tuple[int, int]:
    """(where ``find`` is, in any case of ASCII letters, or -1; how far was searched)."""
    wanted = find.encode().lower()
    at = offset
    while at < min(size, offset + SEARCH_LIMIT):
        at, data = read_on(output, at, SEARCH_STEP)
        if not data:
            break
        hit = data.lower().find(wanted)
        if hit >= 0:
            return at + hit, at + hit
        if at + len(data) >= size:
            return -1, size
        at += max(1, len(data) - len(wanted) + 1)
    return -1, min(at, size)


def _marked(text: str, find: str) -> list[tuple[str, bool]]:
    """``text`` in pieces, those that are ``find`` marked."""
    if not find:
        return [(text, False)]
    pieces: list[tuple[str, bool]] = []
    low, wanted, at = text.lower(), find.lower(), 0
    if len(low) != len(text):  # a letter whose lower case is longer: do not mark at all
        return [(text, False)]
    while len(pieces) < 2 * MOST_MARKS and (hit := low.find(wanted, at)) >= 0:
        pieces += [(text[at:hit], False), (text[hit : hit + len(wanted)], True)]
        at = hit + len(wanted)
    return [*pieces, (text[at:], False)]


async def follow(
    live: Live, queue: Queue, job: Job, number: int | None, offset: int
) -> AsyncIterator[tuple[str, str]]:
    """(event, data) with what is added to an output from ``offset`` on, until the attempt has
    ended. ``number`` None: the latest attempt, or the first one if there is none yet."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    output: AttemptOutput | None = None
    looked, said = -LOOK, time.monotonic()
    file: tuple[int, int] | None = None
    while not live.closing:
        if time.monotonic() - looked >= LOOK:
            looked = time.monotonic()
            ran = output is not None and output.running
            try:
                current = await queue.get(job.seq)
                output = None if current is None else await queue.output(current, number)
            except QueueError:
                return  # the browser connects again, and then gets the reason
            if output is None:
                break  # it was removed
            number = output.number or None
            if ran and not output.running:  # the middle of a long output was removed
                offset = output.after(offset, file)
            file = file or output.file_id()
        assert output is not None  # noqa: S101 # it was looked at in the first turn
        at, data = await asyncio.to_thread(read_on, output, offset)
        if data:
            text = clean_block(decoder.decode(data))
            offset, said = at + len(data), time.monotonic()
            yield "text", json.dumps({"text": text, "offset": offset})
            continue
        if not output.running:
            break
        await asyncio.sleep(POLL)
        if time.monotonic() - said >= KEEP_ALIVE:
            said = time.monotonic()
            yield "", ""
    yield "end", json.dumps(offset)


def read_on(output: AttemptOutput, offset: int, count: int = WINDOW) -> tuple[int, bytes]:
    """(where they are, up to ``count`` bytes) from ``offset`` on. The dropped part of a long output
    is skipped. It is a hole in the file while the attempt runs."""
    begin, end = output.hole()
    if begin <= offset < end:
        offset = end
    return offset, output.read(offset, count)


async def raw(output: AttemptOutput) -> AsyncIterator[bytes]:
    """The whole output as bytes."""
    offset, data = await asyncio.to_thread(read_on, output, 0)
    while data:
        yield data
        offset, data = await asyncio.to_thread(read_on, output, offset + len(data))
