"""What the jobs wrote, held against what the store says."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from .plant import Plant

UNEXPECTED = (
    "Traceback",
    "internal error",
    "Logging error",
    "database is locked",
    "constraint failed",
    "disk I/O error",
)
"""What no supervisor may ever say."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A job of the campaign. ``code``: how each of its attempts ends if it is let."""

    name: str
    code: int
    max_retries: int

    @property
    def attempts(self) -> int:
        """How many it takes when nothing else goes wrong."""
        return 1 if self.code == 0 else self.max_retries


@dataclass(frozen=True, slots=True)
class Attempt:
    """As the store has it."""

    outcome: str
    code: int | None
    signal: int | None


class Oracle:
    """Collects what is broken, and figures.

    ``lossy``: shims were killed, so that some outcomes can't be known. ``leaders``: leaders of
    jobs were killed, so that some attempts failed by SIGKILL.
    """

    def __init__(
        self, plant: Plant, planned: list[Planned], accepted: set[str], *, lossy: bool
    ) -> None:
        self.plant = plant
        self.planned = {job.name: job for job in planned}
        self.accepted = accepted
        self.lossy = lossy
        self.broken: list[str] = []
        self.figures: dict[str, int] = {}

    def judge(self, *, leaders: bool) -> None:
        """Look at everything."""
        self._read_store()
        self._read_log()
        self._lost()
        for name, job in self.planned.items():
            if name in self.jobs:
                self._job(name, job, leaders=leaders or self.lossy)
        self._said()
        self._sound()

    def _say(self, text: str) -> None:
        self.broken.append(text)

    def _read_store(self) -> None:
        rows = self.plant.sql("SELECT id, state, attempts, crashes, exit_code, runs FROM jobs")
        self.jobs = {str(row[0]): row[1:] for row in rows}
        self.attempts: dict[str, dict[int, Attempt]] = defaultdict(dict)
        found = self.plant.sql(
            "SELECT j.id, a.number, a.outcome, a.exit_code, a.signal"
            " FROM attempts a JOIN jobs j ON j.seq = a.job"
        )
        for name, number, outcome, code, signal in found:
            assert isinstance(number, int)
            assert code is None or isinstance(code, int)
            assert signal is None or isinstance(signal, int)
            self.attempts[str(name)][number] = Attempt(str(outcome), code, signal)

    def _read_log(self) -> None:
        self.starts: dict[str, Counter[int]] = defaultdict(Counter)
        self.ends: dict[str, dict[int, int]] = defaultdict(dict)
        latest: dict[str, int] = defaultdict(int)
        overlaps = 0
        for kind, name, attempt, *rest in self.plant.log():
            number = int(attempt)
            if kind == "S":
                self.starts[name][number] += 1
                latest[name] = max(latest[name], number)
            elif kind == "E":
                self.ends[name][number] = int(rest[0])
            if kind == "O":
                overlaps += 1
                self._say(f"{name}: attempt {number} began while another was inside")
            elif number < latest[name]:
                overlaps += 1
                self._say(f"{name}: attempt {number} went on beside attempt {latest[name]}")
        self.figures["attempts started"] = sum(sum(c.values()) for c in self.starts.values())
        self.figures["run twice at once"] = overlaps

    def _lost(self) -> None:
        lost = self.accepted - self.jobs.keys()
        strangers = self.jobs.keys() - self.planned.keys()
        if lost:
            self._say(f"accepted and lost: {', '.join(sorted(lost)[:10])}")
        if strangers:
            self._say(f"never enqueued: {', '.join(sorted(strangers)[:10])}")
        states = Counter(str(row[0]) for row in self.jobs.values())
        self.figures["jobs accepted"] = len(self.accepted)
        self.figures["lost"] = len(lost)
        self.figures["completed"] = states["completed"]
        self.figures["dead"] = states["dead"]
        self.figures["processing at the end"] = states["processing"]
        for state in states.keys() - {"completed", "dead"}:
            self._say(f"{states[state]} jobs are {state} at the end")

    def _job(self, name: str, job: Planned, *, leaders: bool) -> None:
        state, attempts, _, exit_code, runs = self.jobs[name]
        records = self.attempts[name]
        killed = [one for one in records.values() if one.signal is not None]
        crashed = [number for number, one in records.items() if one.outcome == "crashed"]
        if killed and not leaders:
            self._say(f"{name}: {len(killed)} attempts were killed by a signal nobody sent")
        if crashed and not self.lossy:
            self._say(f"{name}: a crash was counted, though its shim lived")
        wanted = "completed" if job.code == 0 else "dead"
        if state != wanted and len(killed) < job.max_retries:
            self._say(f"{name}: {state}, should be {wanted}")
        if state == wanted and not killed and (exit_code, attempts) != (job.code, job.attempts):
            self._say(f"{name}: exit {exit_code} after {attempts} attempts, wants {job.code}")
        if len(records) != runs:
            self._say(f"{name}: {runs} attempts, {len(records)} records")
        for number, record in records.items():
            self._attempt(f"{name}: attempt {number}", name, number, record)
        for number, times in self.starts[name].items():
            if times > 1:
                self._say(f"{name}: attempt {number} was started {times} times")
            if number not in records:
                self._say(f"{name}: attempt {number} ran and is not recorded")

    def _attempt(self, label: str, name: str, number: int, record: Attempt) -> None:
        end = self.ends[name].get(number)
        if record.outcome in ("completed", "failed") and record.signal is None:
            if end is None:
                self._say(f"{label}: recorded as {record.outcome}, but it never ended")
            elif end != record.code:
                self._say(f"{label}: exit {record.code} is recorded, it was {end}")
        elif end is not None and not self.lossy:
            self._say(f"{label}: ended with exit {end}, recorded as {record.outcome}")
        if record.outcome == "interrupted" and self.starts[name][number]:
            self._say(f"{label}: it ran, and is recorded as never started")

    def _said(self) -> None:
        adopted = ended = 0
        for file, line in self.plant.said():
            adopted += "goes on here" in line
            ended += "it had ended meanwhile" in line
            if any(word in line for word in UNEXPECTED):
                self._say(f"supervisor {file} said: {line[:200]}")
        self.figures["taken over while running"] = adopted
        self.figures["taken over when ended"] = ended
        outcomes = Counter(o.outcome for all_ in self.attempts.values() for o in all_.values())
        self.figures["crashes counted"] = outcomes["crashed"]
        self.figures["put back, never started"] = outcomes["interrupted"]

    def _sound(self) -> None:
        for (answer,) in self.plant.sql("PRAGMA integrity_check"):
            if answer != "ok":
                self._say(f"integrity_check: {answer}")
        wrong = self.plant.sql(
            "SELECT state, queue, n FROM counts WHERE n <> (SELECT count(*) FROM jobs j"
            " WHERE j.state = counts.state AND j.queue = counts.queue)"
        )
        for row in wrong:
            self._say(f"the count of {row[0]} jobs is {row[2]}, and wrong")
