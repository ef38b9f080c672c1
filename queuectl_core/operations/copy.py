"""Moving a queue: everything in one store is copied into another, of the same kind or not.

The source is only read. It is copied in the order of keys, one range of keys in each commit. A mark
in the target says how far the copy is, so the same command continues after an interruption. Then
both stores are compared. Ranges that differ, because somebody enqueued, cancelled or removed a job
meanwhile, are copied again until nothing differs. At the end everything in both stores is counted.
Only if the counts are equal is the mark removed. Until then nobody else can open the target (see
:mod:`queuectl_core.store.copy`).
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..domain.errors import Conflict, InvalidInput, StoreError
from ..domain.model import Filter, Job, State
from ..store.copy import AttemptRow, CopyBatch, read_mark
from ..store.protocol import Store
from ..system.clocks import monotonic
from ..system.host import is_gone
from ..system.permissions import make_private, own_directory
from ..system.postcommit import after_commit, commits
from .attempt_output import log_path

JOBS_AT_ONCE = 2000
"""Jobs in one range. A transaction with so many takes about 100 ms."""
ATTEMPTS = EVENTS = 5000
TAILS = 250
INPUTS = 16
"""The most in one batch. So many tails, results or inputs have at most 16 MiB."""
PASSES = 5
"""How often both stores are compared before we give up because the source keeps changing."""
ASIDE = 1 << 40
"""If somebody who already had the target open enqueues into it, the seqs are above the source's by
this distance. So they are never confused."""

Progress = Callable[[str, int, int], None]
"""Called with (what is done, done, total) during the copy."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How many of one kind of thing both stores have."""

    what: str
    """``STATE in QUEUE``, ``attempts``, ``stored outputs``, ``standard inputs``, ``results`` or
    ``events``."""
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy."""

    source: str
    target: str
    rows: tuple[Compared, ...]
    outputs: int
    """How many complete output files were linked or copied on this host."""
    resumed: bool
    """Whether it continued an earlier copy."""

    @property
    def same(self) -> bool:
        """Whether both stores have the same counts."""
        return all(row.source == row.target for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The public form."""
        return {
            "from": self.source,
            "to": self.target,
            "same": self.same,
            "resumed": self.resumed,
            "outputs": self.outputs,
            "counts": [
                {"what": row.what, "source": row.source, "target": row.target} for row in self.rows
            ],
        }


async def copy(source: Store, target: Store, progress: Progress) -> Copied:
    """Copy ``source`` into ``target``, which must be empty, or an unfinished copy of ``source``.

    Raises Conflict if the target holds something else, if workers are alive on either side, if jobs
    of the source are processing, or if the source keeps changing.
    """
    if source.directory == target.directory:
        raise InvalidInput(f"{source.url} is the store itself", "give another with --to")
    return await _Copy(source, target, progress).run()


class _Copy:
    def __init__(self, source: Store, target: Store, progress: Progress) -> None:
        self.source, self.target = source, target
        self.into, self.out = target.copying(), source.copying()
        self.progress = progress
        self.mark = ""
        self.upto = 0
        self.outputs = 0
        self.events_upto = 0
        """The key of the last event that is copied."""
        self.done = 0
        self.turn = secrets.token_hex(8)

    async def run(self) -> Copied:
        await self.quiet()
        resumed = await self.begin()
        total = sum((await self.source.counts()).values())
        self.done = sum((await self.target.counts()).values())
        async for jobs, span in _pages(self.source, self.upto + 1):
            await self.send(jobs, span)
            self.done += len(jobs)
            self.progress("copying", self.done, max(self.done, total))
        for _ in range(PASSES):
            if not await self.compare():
                break
        else:
            raise Conflict(
                f"jobs of store {self.source.url} keep changing",
                "stop what enqueues there, and run this again",
            )
        await self.send_events()
        await self.quiet()
        rows = await self.counted()
        found = Copied(self.source.url, self.target.url, rows, self.outputs, resumed)
        if found.same:
            pieces = await self.out.pieces(self.source.clock())
            config = await self.source.config()
            highest, queues = await self.out.highest(), await self.out.queues()
            await self.into.finish(self.mark, config, pieces, highest, queues)
        with after_commit("tidying up"):
            await self.target.checkpoint()
        return found

    async def quiet(self) -> None:
        """Conflict if workers of either store are alive, or if jobs are processing."""
        await _check_no_workers(self.target)
        await check_still(self.source)

    async def begin(self) -> bool:
        """Mark the target, or continue the copy that its mark names. Returns whether it
        continues."""
        name = str(self.source.directory)
        old = await self.into.mark()
        if old is None:
            mark = self.marked(0)
            above = await self.out.highest() + ASIDE
            if not await self.into.begin(mark, above):
                held = sum((await self.target.counts()).values())
                raise Conflict(
                    f"store {self.target.url} is not empty ({held} job{'s' * (held != 1)})",
                    "copy into a new one",
                )
            self.mark = mark
            self.half()
            await self.quiet()  # a worker may have started meanwhile
            return False
        begun = read_mark(old)
        if begun.get("from") != name or not isinstance(begun.get("upto"), int):
            shown = begun.get("shown", "another store")
            raise Conflict(
                f"store {self.target.url} is half a copy of {shown}, not of {self.source.url}",
                "copy into a new one",
            )
        self.mark, self.upto = old, begun["upto"]
        events = begun.get("events")
        self.events_upto = events if isinstance(events, int) else 0
        await self.receive(CopyBatch(), self.upto)
        return True

    def marked(self, upto: int) -> str:
        """The mark of this copy when it has copied the jobs with seqs up to ``upto``."""
        return json.dumps(
            {
                "from": str(self.source.directory),
                "shown": self.source.url,
                "turn": self.turn,
                "upto": upto,
                "events": self.events_upto,
            }
        )

    async def receive(self, batch: CopyBatch, upto: int) -> None:
        new = self.marked(upto)
        await self.into.receive(batch, self.mark, new, self.target.clock())
        self.mark, self.upto = new, upto
        self.half()

    def half(self) -> None:
        """From now on the copy can be interrupted, and continued later."""
        commits.goes_on(f"{self.target.url} is half a copy; the same command goes on with it")

    async def send(self, jobs: Sequence[Job], span: tuple[int, int]) -> None:
        """Replace the target's jobs with seqs in ``span``, with their history. Only the last commit
        records that the range is done. After an interruption the whole range is copied again."""
        first, last = span
        done, upto = max(self.upto, last), min(self.upto, first - 1)
        mine = {job.seq for job in jobs}
        _none_running(self.source, sum(job.state is State.PROCESSING for job in jobs))
        batch = CopyBatch(
            jobs=[plain(job) for job in jobs],
            dependencies=[
                one for one in await self.out.dependencies(first, last) if one.child_seq in mine
            ],
            emptied=span,
        )
        after = (first, -1)
        while attempts := await self.out.attempts(after, last, ATTEMPTS):
            after = attempts[-1].key
            known = [_plain_attempt(kept) for kept in attempts if kept.seq in mine]
            await asyncio.to_thread(self.link_outputs, known)
            if batch.attempts:
                await self.receive(batch, upto)
                batch = CopyBatch()
            batch = replace(batch, attempts=known)
            if len(attempts) < ATTEMPTS:
                break
        after = (first, -1)
        while tails := await self.out.tails(after, last, TAILS):
            after = tails[-1].key
            if batch.tails:
                await self.receive(batch, upto)
                batch = CopyBatch()
            batch = replace(batch, tails=[one for one in tails if one.seq in mine])
            if len(tails) < TAILS:
                break
        above = first - 1
        while texts := await self.out.inputs(above, last, INPUTS):
            above = texts[-1].seq
            if batch.inputs:
                await self.receive(batch, upto)
                batch = CopyBatch()
            batch = replace(batch, inputs=[one for one in texts if one.seq in mine])
        above = first - 1
        while texts := await self.out.results(above, last, TAILS):
            above = texts[-1].seq
            if batch.results:
                await self.receive(batch, upto)
                batch = CopyBatch()
            batch = replace(batch, results=[one for one in texts if one.seq in mine])
        await self.receive(batch, done)
        with after_commit("tidying up"):
            await self.target.checkpoint()

    async def send_events(self) -> None:
        """Copy the events after those that are copied. If they differ afterwards, because somebody
        changed or removed earlier ones, copy all of them again."""
        for _ in range(PASSES):
            while events := await self.out.events(self.events_upto, EVENTS):
                self.events_upto = events[-1].seq or 0
                await self.receive(CopyBatch(events=events), self.upto)
            if await self.out.event_totals() == await self.into.event_totals():
                return
            self.events_upto = 0
            await self.receive(CopyBatch(no_events=True), self.upto)

    async def compare(self) -> int:
        """Copy the ranges again in which the jobs differ. Returns how many differed."""
        highest, seen, differed = await self.out.highest(), 0, 0
        total = sum((await self.source.counts()).values())
        end = 0
        async for jobs, (first, last) in _pages(self.source, 1):
            wanted = [plain(job) for job in jobs]
            there = await self.target.scan(Filter(), len(jobs) + 1, low=first, high=last, up=True)
            if there != wanted:
                differed += 1
                await self.send(jobs, (first, last))
            seen, end = seen + len(jobs), last
            self.progress("comparing", seen, max(seen, total))
        # Jobs above the last one of the source were removed after they were copied.
        top = max(highest, self.upto)
        if await self.target.scan(Filter(), 1, low=end + 1, high=top, up=True):
            differed += 1
            await self.send([], (end + 1, top))
        return differed

    async def counted(self) -> tuple[Compared, ...]:
        """The counts of everything in both stores."""
        both = [await _tally(store) for store in (self.source, self.target)]
        keys = sorted(both[0].keys() | both[1].keys())
        return tuple(Compared(what, both[0][(at, what)], both[1][(at, what)]) for at, what in keys)

    def link_outputs(self, attempts: Iterable[AttemptRow]) -> None:
        """Give the target the complete output files that this host has of the source."""
        for kept in attempts:
            seq, number = kept.key
            if kept.attempt.output_bytes:
                path = log_path(self.source.directory, seq, number)
                self.outputs += link_output(
                    path, log_path(self.target.directory, seq, number), self.target.directory
                )


async def check_still(source: Store) -> None:
    """Conflict if workers of ``source`` are alive, or if its jobs are processing."""
    await _check_no_workers(source)
    _none_running(source, await source.count_range(Filter(states=(State.PROCESSING,))))


async def _check_no_workers(store: Store) -> None:
    now, mono = store.clock(), monotonic()
    alive = [row for row in await store.supervisors() if not is_gone(row, now, mono)]
    if alive:
        who = ", ".join(f"{row.id} on {row.host} (pid {row.pid})" for row in alive)
        raise Conflict(f"workers are up on store {store.url}: {who}", "run: queuectl worker stop")


def link_output(path: Path, place: Path, directory: Path) -> bool:
    """Link ``place`` (in a store's ``directory``) to the output file ``path``, or copy it if it
    cannot be linked. False if there is no such file. StoreError if that fails."""
    if not path.is_file() or path.is_symlink():
        return False
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        own_directory(directory)
        make_private(place.parent)
        try:
            os.link(path, draft)
        except FileNotFoundError:
            return False  # it was removed just now
        except OSError:  # another file system, or one without hard links
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as copy_, path.open("rb") as whole:
                shutil.copyfileobj(whole, copy_)
        draft.replace(place)
        draft.unlink(missing_ok=True)  # a rename onto the same file leaves the draft
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"cannot copy output to {place}: {error.strerror}", "see to it") from error
    return True


def plain(job: Job) -> Job:
    """The job in a form that every store can hold."""
    error = job.last_error
    if error is None or "\0" not in error:
        return job
    return job._replace(last_error=error.replace("\0", "\ufffd"))


def _plain_attempt(kept: AttemptRow) -> AttemptRow:
    reason = kept.attempt.reason
    if reason is None or "\0" not in reason:
        return kept
    return kept._replace(attempt=kept.attempt._replace(reason=reason.replace("\0", "\ufffd")))


def _none_running(source: Store, running: int) -> None:
    if running:
        verb = "is" if running == 1 else "are"
        raise Conflict(
            f"{running} job{'s' * (running != 1)} of store {source.url} {verb} processing still",
            "queuectl worker start takes them over; then worker stop, and run this again",
        )


async def _pages(store: Store, floor: int) -> AsyncIterator[tuple[list[Job], tuple[int, int]]]:
    """All jobs from ``floor`` on in order, with the range of seqs of each page."""
    while jobs := await store.scan(Filter(), JOBS_AT_ONCE, low=floor, up=True):
        last = jobs[-1].seq
        yield jobs, (floor, last)
        floor = last + 1


async def _tally(store: Store) -> Counter[tuple[int, str]]:
    tally: Counter[tuple[int, str]] = Counter()
    order = {state: place for place, state in enumerate(State)}
    for (state, queue), number in (await store.counts()).items():
        tally[order[state], f"{state} in {queue}"] = number
    kinds = ("attempts", "stored outputs", "standard inputs", "results")
    for what, number in zip(kinds, await store.copying().totals(), strict=True):
        if number or what in kinds[:2]:  # most stores have none of the others
            tally[len(State), what] = number
    tally[len(State), "events"] = (await store.copying().event_totals())[0]
    return tally
