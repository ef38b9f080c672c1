"""``enqueue -`` and ``enqueue --file``: hundreds of thousands of jobs, all or none.

JSON Lines are read and stored in chunks, so memory use does not grow. After a bad line the rest is
still checked, so that all bad lines are reported at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

from queuectl_core.domain.errors import BatchRejected, InvalidInput
from queuectl_core.domain.jobspec import Defaults, parse_job
from queuectl_core.domain.json_strict import parse_json
from queuectl_core.domain.model import Filter, Job, JobSpec
from queuectl_core.domain.text import clean_line
from queuectl_core.queue import in_parts
from queuectl_core.system.postcommit import after_commit

from ..presentation.format import plural
from ..presentation.jobs import job_columns
from .output import View
from .overrides import Overrides, tell_ignored
from .results import tell_existing

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

    from .session import Session

T = TypeVar("T")

CHUNK = 1000
CHUNK_TEXTS = 8 << 20
"""Characters of standard input in one chunk, about."""
BOM = b"\xef\xbb\xbf"
"""Windows editors put it before UTF-8 text."""
OBJECT_LIMIT = 16 << 20
"""Bytes of an object that is written on several lines."""
LINE_LIMIT = 16 << 20
"""Bytes: more than the longest valid job takes as JSON."""
KEPT_PROBLEMS = 1000
Existing = tuple[int, str]
"""The place of a job in the input, counted from 0, and the id of the job that exists for it."""

ANSWERS: View[Job] = View(lambda job, now: job.to_json(), job_columns({}), "list", "list_pipe")

SHOWN = 20
"""Jobs shown at a terminal after a bulk enqueue; more are only counted."""


def enqueue_stream(session: Session, source: str, overrides: Overrides) -> None:
    """Enqueue what a file, or standard input (``-``), describes."""
    with _opened(source) as stream:
        if source == "-" and stream.isatty():
            session.err.note("reading jobs, one JSON object a line; end with ctrl-d")
        session.run(lambda queue: _Bulk(session, queue, overrides, stream).enqueue(), create=True)


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    if source == "-":
        if sys.stdin is None:
            raise InvalidInput("standard input is closed", "give --file F")
        yield sys.stdin.buffer
        return
    try:
        stream = open(source, "rb")  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"cannot read '{clean_line(source, 200)}': {why}") from None
    with stream:
        yield stream


class _Bulk:
    """One bulk enqueue."""

    def __init__(
        self, session: Session, queue: Queue, overrides: Overrides, stream: IO[bytes]
    ) -> None:
        self.session = session
        self.queue = queue
        self.overrides = overrides
        self.stream = stream
        self.problems: list[tuple[int, str]] = []
        self.bad = 0
        self.good = 0
        self.ignored: set[str] = set()
        self.hint = ""
        self._places: list[tuple[int, int]] = []
        """(line, place among the jobs) of jobs whose line is not the next one after the line of
        the job before them. The first job has place 0."""
        self._line = 0
        """The line of the last job."""
        self._again: deque[bytes] = deque()
        """Lines to be read again: they looked like parts of one object, but are not."""
        self._gather = True

    async def enqueue(self) -> None:
        """Read, check and enqueue everything, and print the new jobs."""
        defaults = await self.queue.defaults()
        began = time.monotonic()
        size = _size(self.stream)
        err = self.session.err
        async with self.queue.batch() as batch:
            for specs, position in self._chunks(defaults):
                if not self.bad:
                    await batch.add(specs)
                rate = self.good / max(time.monotonic() - began, 0.001)
                if size:
                    err.bar("reading", position, max(size, position), f"bytes · {rate:,.0f} jobs/s")
                else:
                    err.status(f"reading: {self.good:,} jobs · {rate:,.0f}/s")
            if self.bad:
                raise BatchRejected(self.problems, self.bad, self.hint)
            self.overrides.check_count(self.good)
            if self.good:
                err.status(f"writing {self.good:,} jobs in one transaction …")
            first, count = await batch.commit(self.queue.clock())
            existing = [(self._place(line), name) for line, name in sorted(batch.existing)]
        err.clear()
        seconds = time.monotonic() - began
        tell_ignored(self.session, self.ignored)
        await self._show(first, count, existing)
        tell_existing(self.session, [name for _, name in existing], self.overrides.on_conflict)
        if count == 0:
            if not existing:
                err.note("the input holds no jobs; nothing enqueued")
        elif self.session.out.terminal:
            rate = count / max(seconds, 0.001)
            err.note(f"{plural(count, 'job')} enqueued in {seconds:.1f} s ({rate:,.0f}/s)")

    def _chunks(self, defaults: Defaults) -> Iterator[tuple[list[tuple[int, JobSpec]], int]]:
        """Validated jobs with their line numbers, and how many bytes were read so far."""
        chunk: list[tuple[int, JobSpec]] = []
        position = texts = 0
        apply = None if self.overrides.empty else self.overrides.apply
        for number, value, length in self._values():
            position += length
            try:
                if isinstance(value, InvalidInput):
                    raise value
                if not isinstance(value, dict):
                    shown = clean_line(json.dumps(value, ensure_ascii=False), 40)
                    raise InvalidInput(f"a job is a JSON object, not {shown}")
                job = value if apply is None else apply(value, defaults.now)
                spec, extra = parse_job(job, defaults)
            except InvalidInput as error:
                self.bad += 1
                if len(self.problems) < KEPT_PROBLEMS:
                    self.problems.append((number, str(error)))
                continue
            if extra:
                self.ignored.update(extra)
            if number != self._line + 1:
                self._places.append((number, self.good))
            self._line = number
            self.good += 1
            chunk.append((number, self.overrides.spec(spec)))
            texts += len(spec.stdin or "")
            if len(chunk) >= CHUNK or texts >= CHUNK_TEXTS:
                yield chunk, position
                chunk, texts = [], 0
        yield chunk, position

    def _place(self, line: int) -> int:
        """Which of the jobs the one of this line is, counted from 0."""
        at = bisect_right(self._places, (line, self.good))
        begun, place = self._places[at - 1] if at else (1, 0)
        return place + line - begun

    def _values(self) -> Iterator[tuple[int, Any, int]]:
        """(line, JSON value or the InvalidInput it gave, bytes read) of each job.

        For an array the number is that of the item.
        """
        number = 0
        readline = self._readline
        while line := readline(LINE_LIMIT):
            number += 1
            length = len(line)
            if number == 1:
                line = line.removeprefix(BOM)
            value: Any
            if length == LINE_LIMIT and not line.endswith(b"\n"):
                while (rest := readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                    length += len(rest)
                value = InvalidInput(f"longer than {LINE_LIMIT >> 20} MiB")
            elif line.isspace():
                continue
            elif not self.good and not self.bad and line.lstrip().startswith(b"["):
                yield from self._array(line)
                return
            else:
                value = _parse(line)
                if isinstance(value, InvalidInput):
                    lines = self._object(line)
                    if lines is None:
                        value = self._explained(line, value)
                    else:  # an object on several lines
                        yield number, lines[0], length + sum(map(len, lines[1]))
                        number += len(lines[1])
                        continue
            yield number, value, length

    def _readline(self, limit: int) -> bytes:
        return self._again.popleft() if self._again else self.stream.readline(limit)

    def _object(self, begun: bytes) -> tuple[Any, list[bytes]] | None:
        """The object that starts with the line ``begun`` and continues on the next lines, and those
        lines. None when there is no such object; then these lines are read again."""
        if not self._gather or not begun.lstrip().startswith(b"{") or not unfinished(begun):
            return None
        lines: list[bytes] = []
        size = len(begun)
        while size <= OBJECT_LIMIT and (line := self._readline(OBJECT_LIMIT)):
            lines.append(line)
            size += len(line)
            if line.rstrip().endswith(b"}"):
                whole = b"".join((begun, *lines)).strip()
                value = _parse(whole)
                if not isinstance(value, InvalidInput):
                    return value, lines
                if not unfinished(whole):
                    if line.strip() == b"}":  # the object ends here: report its error once
                        return value, lines
                    break
        else:
            self._gather = False  # the object does not end: do not try this again for each line
        self._again.extendleft(reversed(lines))
        return None

    def _explained(self, line: bytes, problem: InvalidInput) -> InvalidInput:
        """A better message for a line that does not start like JSON."""
        if line.lstrip()[:1] in (b"{", b"["):
            return problem
        from queuectl_core.domain.json_mistakes import explain_line

        try:
            said = explain_line(line.decode(), line.endswith(b"\r\n"))
        except UnicodeDecodeError:
            return problem
        if said is None:
            return problem
        self.hint = (
            'give one JSON object a line: {"command": "echo hi"}; for a file with a command on each'
            " line: tr '\\n' '\\0' <FILE | xargs -0 queuectl enqueue"
        )
        return InvalidInput(said)

    def _array(self, begun: bytes) -> Iterator[tuple[int, Any, int]]:
        raw = begun + self.stream.read()
        items = parse_json(raw, "the array")
        for number, item in enumerate(items, 1):
            yield number, item, len(raw) if number == 1 else 0

    async def _show(self, first: int, count: int, existing: Sequence[Existing]) -> None:
        """Print the jobs with seqs from ``first`` on, and those that existed, in the order of the
        input."""
        session = self.session
        total = count + len(existing)
        for_person = session.out.terminal and not session.err.quiet
        if session.json and total == 1:
            found: dict[str, Any] = {"enqueued": count}
            async for job in self._added(first, count, existing):
                found = job.to_json()
            session.out.json(found)
        elif session.json or (for_person and total <= SHOWN):
            with session.listing(ANSWERS, header=True) as listing:
                async for job in self._added(first, count, existing):
                    listing.add(job)
        elif not for_person:
            pages = self._in_order(self.queue.ids(first, count), existing, self._same)
            async for ids in self._read(pages, total):
                session.out.line("\n".join(ids))

    async def _added(
        self, first: int, count: int, existing: Sequence[Existing]
    ) -> AsyncIterator[Job]:
        pages = self._in_order(self._pages(first, first + count), existing, self._find)
        async for page in self._read(pages, count + len(existing)):
            for part in in_parts(page) if self.session.json else (page,):
                for job in await self.queue.with_texts(part) if self.session.json else part:
                    yield job

    async def _in_order(
        self,
        pages: AsyncIterator[list[T]],
        existing: Sequence[Existing],
        find: Callable[[str], Awaitable[T]],
    ) -> AsyncIterator[list[T]]:
        """The pages of new jobs, with what ``find`` gives for existing ones where the input has
        them."""
        left = deque(existing)
        place = 0
        async for page in pages:
            whole: list[T] = []
            for one in page:
                while left and left[0][0] == place + len(whole):
                    whole.append(await find(left.popleft()[1]))
                whole.append(one)
            place += len(whole)
            yield whole
        if left:
            yield [await find(name) for _, name in left]

    async def _same(self, name: str) -> str:
        return name

    async def _find(self, name: str) -> Job:
        return (await self.queue.find(name))._replace(existing=True)

    async def _pages(self, first: int, end: int) -> AsyncIterator[list[Job]]:
        for start in range(first, end, CHUNK):
            stop = min(start + CHUNK, end)
            yield await self.queue.scan(Filter(), CHUNK, low=start, high=stop - 1, up=True)

    async def _read(self, pages: AsyncIterator[T], count: int) -> AsyncIterator[T]:
        """Read for the answer. The jobs are enqueued, so an error here is only a warning."""
        with after_commit(f"{plural(count)} enqueued, but reading them"):
            async for page in pages:
                yield page


def unfinished(text: bytes) -> bool:
    """Whether this is valid JSON up to its end, and more must follow."""
    try:
        shown = text.decode().strip()
        json.loads(shown)
    except json.JSONDecodeError as error:
        return error.pos >= len(shown) or error.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        pass
    return False


def _parse(line: bytes) -> Any:
    try:
        return parse_json(line.strip(), "it")
    except InvalidInput as error:
        return error


def _size(stream: IO[bytes]) -> int:
    """Bytes of a regular file; 0 when it cannot be known."""
    try:
        return os.fstat(stream.fileno()).st_size
    except (OSError, ValueError):
        return 0
