"""What is shown of the store as a whole: counts by state, workers, rates and times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from queuectl_core.domain.model import State, Status, Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration

from .columns import STATE_ROLES, Cell
from .format import plural
from .workers import queue_list

SHORT_NAMES = {
    State.DEAD: ("dead", "bad"),
    State.PROCESSING: ("run", "busy"),
    State.PENDING: ("pend", "text"),
    State.WAITING: ("wait", "text"),
    State.FAILED: ("fail", "warn"),
    State.COMPLETED: ("done", "text"),
    State.CANCELLED: ("canc", "text"),
}
"""The most important state is first: the end of the line may be cut."""


def by_state(counts: Mapping[State, int]) -> str:
    """Counts in words: ``572 dead, 3 failed``."""
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)


def brief(count: int) -> str:
    """A count in at most four characters: ``950``, ``12k``, ``1.2M``."""
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count // 100 / 10}k" if count < 10_000 else f"{count // 1000}k"
    return f"{count / 1e6:.1f}M"


def summary_cells(counts: Mapping[State, int], workers: Iterable[Worker]) -> list[Cell]:
    """One short line: workers that are busy, and each state that has jobs."""
    workers = list(workers)
    live = [worker for worker in workers if worker.state != "lost"]
    busy = sum(worker.job is not None for worker in live)
    cells: list[Cell] = [(" w ", "muted"), (f"{busy}/{len(live)}", "text")]
    if len(live) < len(workers):
        cells += [(" lost ", "muted"), (str(len(workers) - len(live)), "bad")]
    for state, (word, role) in SHORT_NAMES.items():
        if count := counts.get(state, 0):
            cells += [(f" {word} ", "muted"), (brief(count), role)]
    return cells


def status_lines(found: Status, now: float) -> list[list[Cell]]:
    """The status in two or three lines: counts, what needs attention, and queues."""
    counts: list[Cell] = []
    for state in State:
        count = found.counts.get(state, 0)
        counts.append((f"{count:,} ", STATE_ROLES[state] if count else "muted"))
        counts.append((f"{state.value}   ", "text" if count else "muted"))
    busy = sum(worker.state == "busy" for worker in found.workers)
    workers = plural(len(found.workers), "worker")
    line: list[Cell] = [(f"{workers}, {busy} busy" if found.workers else "no workers", "text")]
    if found.oldest_due_at is not None:
        line.append((f" · oldest waiting {format_duration(now - found.oldest_due_at)}", "text"))
    if dead := found.counts.get(State.DEAD, 0):
        line.append((f" · {dead:,} in the DLQ (queuectl dlq list)", "error"))
    if not found.workers and _claimable(found.counts):
        line.append((" · start some: queuectl worker start", "caution"))
    elif unserved := found.unserved():
        line.append((f" · no worker serves queue {queue_list(unserved)}", "caution"))
    if found.paused:
        line.append((f" · paused: {queue_list(found.paused)} (queuectl queue list)", "caution"))
    lines = [counts, line]
    if len(found.queues) > 1:
        queues: list[Cell] = [("queues: ", "muted")]
        for name, here in sorted(found.queues.items()):
            queues.append((f"{clean_line(name, 30)} {_waiting(here):,} waiting   ", "muted"))
        lines.append(queues)
    return lines


def _waiting(counts: Mapping[State, int]) -> int:
    """Jobs that have not ended and do not run."""
    return _claimable(counts) + counts.get(State.WAITING, 0)


def _claimable(counts: Mapping[State, int]) -> int:
    return counts.get(State.PENDING, 0) + counts.get(State.FAILED, 0)
