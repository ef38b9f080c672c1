"""Bulk enqueue: jobs are collected in a file, then copied into the database and moved at once.

The file has no name, only this user can read it, and it has the format of COPY. Collecting needs no
server. So a slow producer on standard input holds nothing open there, a broken connection does no
harm, and memory use does not grow. Then one transaction copies the file into a temporary table,
takes a block of keys, and moves all jobs with one INSERT.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

import asyncpg

from ...domain.errors import Conflict, InvalidInput, StoreError, StoreFull
from ...domain.events import EventKind
from ...domain.model import JobSpec
from ...domain.text import clean_line
from ..protocol import Batch
from ..rows import new_ids, new_job, refuse_twice, renamed, spec_params
from ..unique import UniqueLines
from .admission import NewJobs, connect_parents, connect_replaced, replace_job, unique_holder
from .connections import Connections
from .events import record
from .hooks import deliver_all
from .jobs import COLUMNS, KEYS, MOST_TURNS, check_text, take_turns
from .session import NEW_JOBS, Session

TRIES = 5
"""How often jobs are moved again because others took an id or a unique value."""

_SPECIAL = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class PostgresBatch(Batch):
    """A :class:`~queuectl_core.store.protocol.Batch`; ``connections`` must be a patient one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        with _staging():
            self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._count = 0
        self._parents = self._inputs = False
        self._values: set[str] = set()
        """Unique values, a few more than :data:`.jobs.MOST_TURNS` at most."""

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    async def add(self, specs: Sequence[tuple[int, JobSpec]]) -> None:
        """Add jobs, each with the number of its line."""
        try:
            lines = "".join(_lines(specs)).encode("utf-8")
        except UnicodeEncodeError as error:
            shown = clean_line(error.object[max(0, error.start - 20) : error.end], 60)
            raise InvalidInput(f"'{shown}' is not valid UTF-8 text") from error
        with _staging():
            self._file.write(lines)
        self._count += len(specs)
        for _, spec in specs:
            if spec.after or spec.after_any or spec.after_failed:
                self._parents = True
            self._inputs = self._inputs or spec.stdin is not None
            if spec.unique is not None and len(self._values) <= MOST_TURNS:
                self._values.add(spec.unique)

    async def commit(self, now: float) -> tuple[int, int]:
        """Enqueue all added jobs; see the protocol."""
        with _staging():
            self._file.flush()
        first, count, self.existing = await self._connections.announce(
            _commit,
            self._file,
            self._count,
            now,
            values=self._values,
            parents=self._parents,
            inputs=self._inputs,
        )
        return first, count


@contextmanager
def _staging() -> Iterator[None]:
    """Explains an error of the file in which jobs are collected."""
    try:
        yield
    except OSError as error:
        where = os.environ.get("TMPDIR") or "the temporary directory"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "no space left" if full else f"cannot write: {error.strerror or error}"
        kind = StoreFull if full else StoreError
        raise kind(
            f"{why} for the jobs that are gathered in {where}; nothing was enqueued",
            "free some space, or name another directory in TMPDIR",
        ) from error


def _lines(specs: Sequence[tuple[int, JobSpec]]) -> Iterator[str]:
    """Each job as a line in the text format of COPY."""
    for (line, spec), fresh in zip(specs, new_ids(len(specs)), strict=True):
        check_text(spec)
        row = spec_params(spec, 0.0)
        values: list[Any] = [line, row["id"] or fresh, spec.id is None]
        values += [row[name] for name in (*COLUMNS[1:], "stdin", "on_conflict")]
        yield "\t".join(map(_field, values)) + "\n"


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        # Nearly no text has such a character, and translating takes longer than looking for it.
        plain = value.isprintable() and "\\" not in value
        return value if plain else value.translate(_SPECIAL)
    if isinstance(value, bytes):
        return f"\\\\x{value.hex()}"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int) and value.bit_length() > 63:
        raise InvalidInput("a number is larger than any store can hold")
    return repr(value)


async def _commit(
    session: Session,
    file: IO[bytes],
    count: int,
    now: float,
    *,
    values: set[str],
    parents: bool,
    inputs: bool,
) -> tuple[int, int, list[tuple[int, str]]]:
    """The first seq, how many jobs were enqueued, and the lines that were not."""
    if not count:
        return 0, 0, []
    session.news = NEW_JOBS
    await take_turns(session, values)
    await session.execute("stage")
    file.seek(0)
    await session.raw.copy_to_table(
        "incoming", schema_name="pg_temp", source=file, format="text", timeout=None
    )
    first, lines = await _move(session, count, now, unique=bool(values))
    count -= len(lines.gone)
    if count and inputs:
        await session.execute("move_inputs")
    if count and parents:
        new = NewJobs(first, first + count - 1)
        await connect_parents(session, new, now, partial(_line_of, session))
    await connect_replaced(session, lines.replaced, now)
    if count:
        last = first + count - 1
        await record(session, EventKind.ENQUEUED, now, job=first, last_job=last, count=count)
    if parents:  # a job whose parent has failed for good is cancelled at once
        await deliver_all(session, now)
    return first, count, lines.existing


async def _line_of(session: Session, job_id: str) -> str:
    line = await session.value("staged_line", id=job_id)
    return f"nothing enqueued: line {line}: {new_job(job_id)}"


async def _move(
    session: Session, count: int, now: float, *, unique: bool
) -> tuple[int, UniqueLines]:
    """The first seq (0: nothing is enqueued), and the lines whose unique value is held."""
    await session.execute("before_settling")
    lines = await _settle_unique(session, now) if unique else UniqueLines()
    for _ in range(TRIES):
        left = count - len(lines.gone)
        if not left:
            return 0, lines
        first = await _keys(session, left)
        await session.execute("before_moving")
        try:
            await session.execute("move", first=first, now=now)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "jobs_unique":  # somebody was faster
                await session.execute("as_before_settling")
                lines = await _settle_unique(session, now)
                continue
            await session.execute("as_before_moving")
            refuse_twice(await session.rows("twice"))
            for params in renamed(await session.rows("taken")):  # generated ids were taken
                await session.execute("renamed", **params)
            continue
        return first, lines
    raise Conflict("could not find free ids", "give ids, or try again")


async def _settle_unique(session: Session, now: float) -> UniqueLines:
    """Take lines out whose unique value is held."""
    lines = UniqueLines()
    await session.execute("staged_unique_expired", now=now)
    for row in await session.rows("staged_unique"):
        holder = None
        if row["holder"] is not None:
            replaces = row["on_conflict"] == "replace"
            holder = await unique_holder(session, row["unique_value"], now, lock=replaces)
        if lines.add(row, holder) and holder is not None:
            held_at = now if row["hold"] else None
            await replace_job(session, holder, dict(row) | {"held_at": held_at}, now)
    await session.execute("staged_gone", lines=lines.gone)
    return lines


async def _keys(session: Session, count: int) -> int:
    """The first of ``count`` consecutive keys."""
    await session.value("key_gate", key=KEYS)
    try:
        return int(await session.value("key_block", count=count))
    finally:
        await session.value("key_gate_open", key=KEYS)
