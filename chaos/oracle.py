"""Compares what jobs wrote, and what was acknowledged, with what the store says."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from queuectl_core.domain.rollup import merged, unpack

from .book import PLAY, Answer, Book, Planned, Request, name_in
from .plant import Plant

UNEXPECTED = (
    "Traceback",
    "internal error",
    "Logging error",
    "database is locked",
    "constraint failed",
    "duplicate key",
    "restore a backup",
    "malformed",
    "disk I/O error",
    "was never awaited",
)
"""Text that no process may ever print."""

UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""Errors of SQLite that say what happened to the file."""

FINAL = ("completed", "dead", "cancelled")
WAITING = ("pending", "failed")


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the store has it."""

    state: str
    attempts: int
    exit_code: int | None
    runs: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """As the store has it."""

    outcome: str
    code: int | None
    signal: int | None


class Oracle:
    """Collects what is broken, and figures.

    ``lossy``: shims were killed or leases were lost, so that some outcomes can't be known.
    ``early``: the time was over before all jobs had ended; those that wait are no fault.
    """

    def __init__(self, plant: Plant, book: Book, *, lossy: bool, early: bool = False) -> None:
        self.plant = plant
        self.book = book
        self.lossy = lossy
        self.early = early
        self.broken: list[str] = []
        self.figures: dict[str, int] = {}

    def judge(self, *, leaders: bool) -> None:
        """Look at everything. ``leaders``: leaders of jobs were killed, so that some attempts
        failed by SIGKILL."""
        try:
            self._look(leaders=leaders)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in UNREADABLE:
                raise
            self._say(f"the file cannot be read: {error}")

    def _look(self, *, leaders: bool) -> None:
        self._read_store()
        self._read_log()
        self._lost()
        self._ended()
        for name, job in self.book.jobs.items():
            if name in self.jobs:
                self._recorded(name)
                self._result(name, job)
                if job.queue != PLAY:
                    self._job(name, job, self.jobs[name], leaders=leaders or self.lossy)
        for name in self.book.requests:
            self._cancelled(name)
        self._configured()
        self._events()
        self._deaths()
        self._said()
        self.broken += self.plant.database.faults()

    def _say(self, text: str) -> None:
        self.broken.append(text)

    # -- reading ------------------------------------------------------------------------

    def _read_store(self) -> None:
        self.jobs: dict[str, Row] = {}
        self.times: Counter[str] = Counter()
        """How often there is, or was, a row of this name."""
        rows = self.plant.sql("SELECT command, state, attempts, exit_code, runs FROM jobs")
        for command, *rest in rows:
            name = name_in(str(command))
            self.times[name] += 1
            self.jobs[name] = Row(*rest)
        self.deleted: dict[str, str] = {}
        for command, state in self.plant.sql("SELECT command, state FROM chaos_deleted"):
            name = name_in(str(command))
            self.times[name] += 1
            self.deleted[name] = str(state)
        self.attempts: dict[str, dict[int, Attempt]] = defaultdict(dict)
        found = self.plant.sql(
            "SELECT j.command, a.number, a.outcome, a.exit_code, a.signal"
            " FROM attempts a JOIN jobs j ON j.seq = a.job"
        )
        for command, number, outcome, code, signal in found:
            self.attempts[name_in(str(command))][int(number)] = Attempt(str(outcome), code, signal)

        self.results: dict[str, str] = {}
        found = self.plant.sql(
            "SELECT j.command, r.result FROM results r JOIN jobs j ON j.seq = r.job"
        )
        for command, result in found:
            self.results[name_in(str(command))] = bytes(result).decode("utf-8", "replace")
        self.figures["results"] = len(self.results)

    def _read_log(self) -> None:
        self.starts: dict[str, Counter[int]] = defaultdict(Counter)
        self.started_at: dict[str, int] = {}
        """Bytes of the log before the last start of a job."""
        self.ends: dict[str, dict[int, int]] = defaultdict(dict)
        self.reported: dict[str, set[int]] = defaultdict(set)
        """Attempts that have written their result."""
        latest: dict[str, int] = defaultdict(int)
        overlaps = 0
        for at, (kind, name, attempt, *rest) in self._lines():
            number = int(attempt)
            if kind == "S":
                self.starts[name][number] += 1
                self.started_at[name] = at
                latest[name] = max(latest[name], number)
            elif kind == "E":
                self.ends[name][number] = int(rest[0])
            elif kind == "R":
                self.reported[name].add(number)
            if kind == "O":
                overlaps += 1
                self._say(f"{name}: attempt {number} began while another was inside")
            elif number < latest[name]:
                overlaps += 1
                self._say(f"{name}: attempt {number} went on beside attempt {latest[name]}")
        self.figures["attempts started"] = sum(sum(c.values()) for c in self.starts.values())
        self.figures["run twice at once"] = overlaps

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        at = 0
        for line in (self.plant.place / "log").read_text("utf-8").splitlines(keepends=True):
            yield at, line.split()
            at += len(line)

    # -- acknowledgements ---------------------------------------------------------------

    def _lost(self) -> None:
        """What was acknowledged is there, once; what was refused is not."""
        accepted = self.book.accepted
        lost = sorted(accepted - self.times.keys())
        if lost:
            self._say(f"{len(lost)} acknowledged and lost: {', '.join(lost[:10])}")
        unknown = sorted(self.times.keys() - self.book.jobs.keys())
        if unknown:
            self._say(f"{len(unknown)} never enqueued: {', '.join(unknown[:10])}")
        for name, times in self.times.items():
            if times > 1:
                self._say(f"{name}: {times} times in the store, enqueued once")
        refused = [name for name, job in self.book.jobs.items() if job.answer is Answer.REFUSED]
        there = sorted(name for name in refused if self.times[name])
        if there:
            self._say(f"{len(there)} refused although committed: {', '.join(there[:10])}")
        for name, state in self.deleted.items():
            self._deletion(name, state)
        for name in self.book.requests:
            done = [
                one for one in self.book.asked(name, "remove") if one.answer is Answer.ACKNOWLEDGED
            ]
            if done and name in self.jobs:
                self._say(f"{name}: its removal was acknowledged, and it is there")
        self.figures["jobs accepted"] = len(accepted)
        self.figures["lost"] = len(lost)
        self.figures["in doubt"] = sum(
            job.answer is Answer.IN_DOUBT for job in self.book.jobs.values()
        )
        self.figures["refused"] = len(refused)
        self.figures["refused although committed"] = len(there)
        self.figures["deleted"] = len(self.deleted)

    def _deletion(self, name: str, state: str) -> None:
        """A deleted row was in a state in which somebody asked to delete it."""
        bulk = {"dead": "purge dead", "cancelled": "prune cancelled"}.get(state, "")
        if bulk not in self.book.bulk and not self.book.may_have(name, "remove"):
            asked = [(one.what, one.answer.value) for one in self.book.requests.get(name, [])]
            self._say(f"{name}: deleted while {state}, and nobody asked for that: {asked}")

    def _cancelled(self, name: str) -> None:
        """What was cancelled, and never retried, does not start again."""
        retried = self.book.may_have(name, "retry") or "retry dead" in self.book.bulk
        done: list[Request] = [
            one for one in self.book.asked(name, "cancel") if one.answer is Answer.ACKNOWLEDGED
        ]
        if done and not retried and self.started_at.get(name, 0) > done[0].at:
            self._say(f"{name}: it was started after its cancel was acknowledged")

    def _configured(self) -> None:
        stored: dict[str, str] = dict(self.plant.sql("SELECT key, value FROM config"))
        for key, written in self.book.config.items():
            possible: set[str] = set()
            for value, answer in written:
                if answer is Answer.ACKNOWLEDGED:
                    possible = {value}
                elif answer is Answer.IN_DOUBT:
                    possible |= {value}
            last = stored.get(key)
            if any(answer is Answer.ACKNOWLEDGED for _, answer in written) and not any(
                last is not None and float(last) == float(value) for value in possible
            ):
                self._say(f"config {key} is {last}, acknowledged was {sorted(possible)}")

    # -- events -------------------------------------------------------------------------

    def _deaths(self) -> None:
        """A hook has gathered each death once. Sums of attempts count those of removed jobs too."""
        rows = self.plant.sql("SELECT data FROM rollups")
        dead = merged([unpack(bytes(row[0])) for row in rows]).dead
        gathered = sum(row[0] for row in self.plant.sql("SELECT n FROM hook_entries"))
        self.figures["deaths that a hook gathered"] = gathered
        if gathered != dead:
            self._say(f"a hook gathered {gathered} deaths, {dead} jobs died")
        left = self.plant.sql("SELECT count(*) FROM hook_marks")[0][0]
        if left:
            self._say(f"{left} events were left for hooks")

    def _events(self) -> None:
        """Each change has its event, and there is none for a change that was not made."""
        rows = self.plant.sql(
            "SELECT kind, job, last_job, n, name, detail FROM events ORDER BY seq"
        )
        said: Counter[str] = Counter()
        for kind, _, _, number, *_ in rows:
            said[kind] += 1 if number is None else number
            if number is not None and number < 1:
                self._say(f"an event {kind} with {number} jobs")
        self.figures["events"] = len(rows)
        there = sum(self.times.values())
        if said["job.enqueued"] != there:
            self._say(f"{said['job.enqueued']} jobs were enqueued by the events, {there} were")
        deleted = self.plant.sql("SELECT count(*) FROM chaos_deleted")[0][0]
        if said["job.removed"] != deleted:
            self._say(f"{said['job.removed']} jobs were removed by the events, {deleted} were")
        self._enqueued_once(rows)
        self._asked_and_told()
        known: dict[str, str | None] = {}
        for kind, _, _, _, name, detail in rows:
            if kind == "config.changed":
                changed = json.loads(detail)
                if name in known and known[name] != changed["old"]:
                    self._say(f"config {name}: an event is missing before {changed}")
                known[name] = changed["new"]
        stored: dict[str, str] = dict(self.plant.sql("SELECT key, value FROM config"))
        for name, value in known.items():
            if stored.get(name) != value:
                self._say(f"config {name} is {stored.get(name)}, the last event says {value}")

    def _enqueued_once(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Each job is in one event of an enqueue."""
        seqs = {row[0] for row in self.plant.sql("SELECT seq FROM jobs")}
        times: Counter[int] = Counter()
        for kind, first, last, *_ in rows:
            if kind == "job.enqueued":
                times.update(range(first, (last or first) + 1))
        wrong = sorted(seq for seq in seqs if times[seq] != 1)
        if wrong:
            self._say(f"{len(wrong)} jobs are not in one event of an enqueue: {wrong[:10]}")

    def _asked_and_told(self) -> None:
        """What was acknowledged for a job has its event, and what was refused has none."""
        told: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        found = self.plant.sql(
            "SELECT j.command, e.kind, e.via FROM events e JOIN jobs j ON j.seq = e.job"
            " WHERE e.kind IN ('job.cancelled', 'job.retried') AND e.last_job IS NULL"
        )
        for command, kind, via in found:
            told[name_in(str(command))][kind].append(str(via))
        for name in self.book.requests:
            for what, kind in (("cancel", "job.cancelled"), ("retry", "job.retried")):
                asked = self.book.asked(name, what)
                sure = sum(one.answer is Answer.ACKNOWLEDGED for one in asked)
                most = sum(one.answer is not Answer.REFUSED for one in asked)
                events = told[name][kind]
                if name in self.jobs and not sure <= len(events) <= most:
                    answers = ", ".join(one.answer.name for one in asked)
                    self._say(
                        f"{name}: {sure} to {most} times {what} ({answers}),"
                        f" {len(events)} events ({', '.join(events)})"
                    )

    # -- jobs ---------------------------------------------------------------------------

    def _ended(self) -> None:
        states = Counter(row.state for row in self.jobs.values())
        self.figures["completed"] = states["completed"]
        self.figures["dead"] = states["dead"]
        self.figures["cancelled"] = states["cancelled"]
        self.figures["processing at the end"] = states["processing"]
        allowed = (*FINAL, *WAITING) if self.early else FINAL
        self.figures["waiting at the end"] = sum(states[state] for state in WAITING)
        for state in sorted(states.keys() - set(allowed)):
            stuck = sorted(name for name, row in self.jobs.items() if row.state == state)
            self._say(f"{len(stuck)} jobs are {state} at the end: {', '.join(stuck[:10])}")

    def _recorded(self, name: str) -> None:
        """Each attempt is recorded once, and as it was."""
        records, row = self.attempts[name], self.jobs[name]
        if len(records) != row.runs:
            self._say(f"{name}: {row.runs} attempts, {len(records)} records")
        for number, record in records.items():
            self._attempt(f"{name}: attempt {number}", name, number, record)
        for number, times in self.starts[name].items():
            if times > 1:
                self._say(f"{name}: attempt {number} was started {times} times")
            if number not in records:
                self._say(f"{name}: attempt {number} ran and is not recorded")
        completed = [n for n, record in records.items() if record.outcome == "completed"]
        if completed and max(records) > completed[0] and not self.book.may_have(name, "retry"):
            self._say(f"{name}: it completed in attempt {completed[0]} and was run again")

    def _result(self, name: str, job: Planned) -> None:
        """A job has exactly the result that its last attempt wrote, and knows of no other."""
        row, found = self.jobs[name], self.results.get(name)
        if row.state != "completed":
            return
        if found is not None and found != job.result(row.runs):
            self._say(f"{name}: its result is {found!r}, it wrote {job.result(row.runs)!r}")
        if found is None and row.runs in self.reported[name] and not self.lossy:
            self._say(f"{name}: attempt {row.runs} wrote a result, and the store has none")

    def _attempt(self, label: str, name: str, number: int, record: Attempt) -> None:
        end = self.ends[name].get(number)
        if record.outcome in ("completed", "failed") and record.signal is None:
            if end is None:
                self._say(f"{label}: recorded as {record.outcome}, but it never ended")
            elif end != record.code:
                self._say(f"{label}: exit {record.code} is recorded, it was {end}")
        elif end is not None and not self.lossy and not self.book.asked(name, "cancel"):
            self._say(f"{label}: ended with exit {end}, recorded as {record.outcome}")
        # A host that cannot reach the server ends its jobs before its lease ends: they ran.
        ran = self.starts[name][number] and self.plant.database.kind == "sqlite"
        if record.outcome == "interrupted" and ran and "stop now" not in self.book.bulk:
            self._say(f"{label}: it ran, and is recorded as never started")

    def _job(self, name: str, job: Planned, row: Row, *, leaders: bool) -> None:
        """A job that no actor touches ends exactly as it was planned."""
        records = self.attempts[name]
        killed = [one for one in records.values() if one.signal is not None]
        crashed = [number for number, one in records.items() if one.outcome == "crashed"]
        if killed and not leaders and "stop now" not in self.book.bulk:
            self._say(f"{name}: {len(killed)} attempts were killed by a signal nobody sent")
        if crashed and not self.lossy:
            self._say(f"{name}: a crash was counted, though its shim lived")
        if row.state not in FINAL and self.early:
            return
        wanted = "completed" if job.code == 0 else "dead"
        if row.state != wanted and len(killed) < job.max_retries:
            self._say(f"{name}: {row.state}, should be {wanted}")
        shown = (row.exit_code, row.attempts)
        if row.state == wanted and not killed and shown != (job.code, job.attempts):
            self._say(
                f"{name}: exit {row.exit_code} after {row.attempts} attempts, wants {job.code}"
            )

    def _said(self) -> None:
        adopted = ended = 0
        for file, line in self.plant.said():
            adopted += "goes on here" in line
            ended += "it had ended meanwhile" in line
            if any(word in line for word in UNEXPECTED):
                self._say(f"{file}: {line[:200]}")
        self.figures["taken over while running"] = adopted
        self.figures["taken over when ended"] = ended
        outcomes = Counter(o.outcome for all_ in self.attempts.values() for o in all_.values())
        self.figures["crashes counted"] = outcomes["crashed"]
        self.figures["put back, never started"] = outcomes["interrupted"]
