"""``queuectl logs``."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

from queuectl_core.domain.lifecycle import FINAL
from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_block, clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.operations.attempt_output import AttemptOutput, OutputTimes
from queuectl_core.system.run_sync import sleep

from ..presentation.workers import no_worker_for
from .declare import UsageError, argument, option, verb
from .jobs import complete_id, until_changed
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

CHUNK = 1 << 16
POLL = 0.1
"""Seconds between looks at a file that is followed."""
LOOKS = 20
"""Looks at a replaced file, after which it is the new output file of a job that still runs."""


@verb(
    "logs",
    examples=(
        "queuectl logs job1",
        "queuectl logs job1 --follow",
        "queuectl logs job1 --attempt 1 --tail 20",
        "queuectl logs job1 --timestamps",
        "queuectl logs job1 --raw > output.bin",
    ),
)
@argument("ref", metavar="ID", complete=complete_id)
@option("-f", "--follow", is_flag=True, about="Go on showing it, until the job has ended.")
@option("--attempt", metavar="N", kind=int, least=1, about="Attempt N, not the last.")
@option("--tail", metavar="N", kind=int, least=0, about="Only the last N lines.")
@option("-t", "--timestamps", is_flag=True, about="Begin each line with the time it came.")
@option("--raw", is_flag=True, about="The bytes as they are, control characters and all.")
def logs(
    session: Session,
    /,
    *,
    ref: str,
    follow: bool,
    attempt: int | None,
    tail: int | None,
    timestamps: bool,
    raw: bool,
) -> None:
    """Show what a job wrote: standard output and error, in order.

    Control characters are shown as text, so that output cannot act on your terminal; --raw
    gives the bytes. With --follow the output appears as it is written, over all attempts
    until the job has ended for good (with --attempt: until that one has).

    --timestamps says when each line began to arrive, on the host that ran the job. Lines that came
    within a hundredth of a second may show the same time; "-" stands for a time that is not known.
    """
    if raw and timestamps:
        raise UsageError("--raw gives the bytes as they are, without --timestamps")
    if raw and session.json:
        raise UsageError("--raw is bytes and --json is text; give one of them")

    async def act(queue: Queue) -> None:
        job = await queue.find(ref)
        shown = LogPrinter(session, queue, job, tail, raw=raw, timestamps=timestamps)
        await shown.run(attempt, follow)

    session.run(act, read_only=True)


class LogPrinter:
    """Prints the output of one job."""

    def __init__(
        self,
        session: Session,
        queue: Queue,
        job: Job,
        tail: int | None,
        *,
        raw: bool,
        timestamps: bool,
    ) -> None:
        self.session = session
        self.queue = queue
        self.job = job
        self.tail = tail
        self.raw = raw
        self.timestamps = timestamps
        self.times: OutputTimes | None = None
        self.at_line_start = True
        self.offset = 0
        self.file: tuple[int, int] | None = None
        self.looks = 0
        self.clean = _StreamCleaner()

    async def run(self, attempt: int | None, follow: bool) -> None:
        """Show the attempt (None: the latest); with ``follow`` until it, or the job, ends."""
        output = await self.queue.output(self.job, attempt)
        if follow and not output.number and output.running:
            output = await self._next(0)
        if self.session.json:
            await self._json(output, follow)
            return
        if not output.number:
            self.session.err.note(f"job '{clean_line(self.job.id)}' has not run yet: no output")
            return
        while True:
            await self._attempt(output, follow)
            if not follow or attempt is not None:
                return
            output = await self._next(output.number)
            if output.number == 0:
                return
            self.session.err.note(f"attempt {output.number}:")
            self.tail = None

    async def _attempt(self, output: AttemptOutput, follow: bool) -> None:
        self.looks = 0
        self._find_start(output)
        self.clean = _StreamCleaner()
        self.at_line_start = True
        self._warn(output)
        self._copy(output)
        while follow and output.running:
            await sleep(POLL)
            output = await self._look(output)
            if not output.running:  # it has ended: the middle of a long output was removed
                self._warn(output)
                self.offset = output.after(self.offset, self.file)
            self._copy(output)
        self._write(b"", final=True)

    def _find_start(self, output: AttemptOutput) -> None:
        """Where to begin, and in which file: it may be replaced at any time."""
        while True:
            self.file = output.file_id()
            self.offset = 0 if self.tail is None else output.tail_offset(self.tail)
            if output.file_id() == self.file:
                return

    async def _look(self, output: AttemptOutput) -> AttemptOutput:
        if await self.queue.changed():
            self.job = await self._job()
            return await self.queue.output(self.job, output.number)
        return output

    async def _job(self) -> Job:
        from queuectl_core.domain.errors import NotFound

        job = await self.queue.get(self.job.seq)
        if job is None:
            raise NotFound(f"job '{clean_line(self.job.id)}' was removed meanwhile")
        return job

    async def _next(self, number: int) -> AttemptOutput:
        """The attempt after ``number``, once it has started; number 0 when there is none."""
        told = False
        while True:
            self.job = await self._job()
            later = [a.number for a in await self.queue.attempts(self.job) if a.number > number]
            if later:  # several, when attempts end faster than we look
                return await self.queue.output(self.job, later[0])
            if self.job.state in FINAL:
                return AttemptOutput(0, None, b"", False, 0)
            if not told:
                await self._tell_waiting(number)
                told = True
            await until_changed(self.queue, POLL)

    async def _tell_waiting(self, number: int) -> None:
        self.session.out.flush()
        due = f"due {format_time(self.job.run_at)}"
        if self.job.state is State.FAILED:
            self.session.err.note(f"attempt {number} failed; the next is {due}")
        else:
            self.session.err.note(f"waiting for the job to start; {due}")
        if said := no_worker_for(await self.queue.status(), (self.job.queue,)):
            self.session.err.note(said)

    def _warn(self, output: AttemptOutput) -> None:
        if output.missing:
            self.session.out.flush()
            self.session.err.note(output.missing)

    def _copy(self, output: AttemptOutput) -> None:
        if output.running and self._was_replaced(output):
            return
        if self.timestamps:
            self.times = OutputTimes(output)
        while True:
            if output.running:  # the middle of a long output may have been dropped
                before, self.offset = self.offset, output.after(self.offset)
                if self.offset > before:
                    self.session.out.flush()
                    dropped = self.offset - before
                    self.session.err.note(f"{dropped} bytes were dropped (output-limit)")
            chunk = output.read(self.offset, CHUNK)
            if not chunk:
                break
            self._show(chunk)
            self.offset += len(chunk)
        self.session.out.flush()

    def _was_replaced(self, output: AttemptOutput) -> bool:
        """Whether the file was replaced. Its supervisor does so with a long output when the job has
        ended; soon the store says that it has ended, and our offset can be used. If the store does
        not, it is the new file of a job whose first file was removed."""
        file = output.file_id()
        if file is None or self.file in (None, file):
            self.file = file or self.file
            return False
        self.looks += 1
        if self.looks < LOOKS:
            return True
        self.file, self.looks = file, 0
        return False

    def _show(self, chunk: bytes) -> None:
        if self.times is None:
            self._write(chunk)
            return
        offset = self.offset
        for line in _lines(chunk):
            if self.at_line_start:
                came = self.times.at(offset)
                time = "-" if came is None else format_time(came)
                self._write(f"{time} ".encode())
            self._write(line)
            offset += len(line)
            self.at_line_start = line.endswith(b"\n")

    def _write(self, chunk: bytes, final: bool = False) -> None:
        if self.raw:
            if chunk:
                self.session.out.raw(chunk)
            return
        text = self.clean(chunk, final)
        self.session.out.write(json.dumps(text)[1:-1] if self.session.json else text)
        if final:
            self.session.out.flush()

    async def _json(self, output: AttemptOutput, follow: bool) -> None:
        """One document, written as the output is read: it may be longer than memory."""
        out = self.session.out
        head = {"id": self.job.id, "attempt": output.number or None}
        out.write(json.dumps(head)[:-1] + ', "output": "')
        await self._attempt(output, follow)
        output = await self.queue.output(await self._job(), output.number or None)
        running = output.running and output.number > 0  # else the job waits for its first attempt
        out.line(
            f'", "bytes": {output.total or output.size()}, '
            f'"complete": {json.dumps(output.complete)}, "running": {json.dumps(running)}}}'
        )


def _lines(chunk: bytes) -> list[bytes]:
    """The lines of ``chunk``, each with the newline that ends it."""
    *whole, rest = chunk.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


class _StreamCleaner:
    """Cleans a stream whose chunks may end inside a character or between CR and LF."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._held = ""

    def __call__(self, chunk: bytes, final: bool = False) -> str:
        text = self._held + self._decode(chunk, final)
        self._held = ""
        if text.endswith("\r") and not final:
            text, self._held = text[:-1], "\r"
        return clean_block(text)
