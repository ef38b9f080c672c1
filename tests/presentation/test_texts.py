"""The texts that front ends share, at the edges of their rules. The files in ``snapshots`` are what
users see; see :mod:`tests.snapshots`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from queuectl_core.domain.admission import Reason, Tree, Why
from queuectl_core.domain.model import Dependency, Rate, State, Status, format_rate
from queuectl_core.domain.schedule import format_every
from queuectl_core.domain.times import format_bytes, format_duration
from queuectl_core.operations.schedules import Shown
from queuectl_tui.presentation import format as form
from queuectl_tui.presentation.columns import ROLES, Cell
from queuectl_tui.presentation.progress import progress_line, progress_short
from queuectl_tui.presentation.schedules import schedule_fields, shown_json, times_and_runs
from queuectl_tui.presentation.stats import precision
from queuectl_tui.presentation.summary import brief, status_lines, summary_cells
from queuectl_tui.presentation.tree import tree_json, tree_lines
from queuectl_tui.presentation.why import blocker_lines, summary_line, summary_rows, why_lines
from queuectl_tui.presentation.workers import no_worker_for

from .. import snapshots
from ..support import NOW
from .samples import BLOCKERS, DAY, JOBS, SCHEDULES, STATS, WORKERS, job, worker

FOLDER = Path(__file__).parent / "snapshots"


EDGES = (
    *(-90000, -86400, -86399, -3600, -3599, -60, -59.9, -1.9, -0.6, -0.5, 0, 0.0004, 0.25, 0.9994),
    *(0.9996, 1, 9.94, 9.96, 9.99, 10, 59, 59.4, 59.6, 60, 61, 599, 600, 3599, 3600, 3661),
    *(86399, 86400, 90061, 7 * 86400, 1e7),
)
SIZES = (0, 1, 999, 1023, 1024, 10189, 10240, 1048575, 1048576, 3 << 29, 1 << 40, 5 << 50)

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Iterable[Any]]] = {
    "ago": (form.ago, EDGES),
    "lasting": (form.lasting, EDGES),
    "duration": (format_duration, EDGES),
    "every": (format_every, [edge for edge in EDGES if edge >= 0]),
    "age": (lambda seconds: form.exact_age(NOW - seconds, NOW), EDGES),
    "rate": (
        lambda seconds: format_rate(Rate(3, seconds)),
        (0.5, 1.0, 59.0, 60.0, 90.0, 3600.0, 5400.0, 86400.0, 90000.0),
    ),
    "bytes": (format_bytes, SIZES),
    "brief": (brief, (0, 999, 1000, 9949, 9999, 10000, 999999, 1000000, 1250000)),
    "clock": (
        lambda ago: form.clock_time(None if ago is None else NOW - ago, NOW),
        (None, 0, 50000, 60000, -40000),
    ),
    "plural": (form.plural, (0, 1, 2, 1000)),
    "cli": (
        lambda word: form.cli("show", word),
        ("a", "it's", "a b", "", "a\nb\tc", "\x1b'\\", "é", "\u202e"),
    ),
    "one line": (form.on_one_line, ("a", "a\nb", "a⏎b", "a\tb", "")),
    "lines": (form.on_lines, ("a⏎b",)),
    "sparkline": (
        lambda given: form.sparkline(*given),
        (
            ((0, 1, 2, 4, 8), 5),
            ((0, 1, 2, 4, 8), 3),
            ((0.01, 0, 8), 5),
            ((1,), 0),
            ((), 3),
            ((0.5, 0.25), 2),
            ((1, 2), 2, 16.0),
        ),
    ),
    "progress": (
        lambda given: (progress_line(*given), progress_short(given[0], given[2])),
        (
            (None, "x", 5.0),
            (0.0, None, 5.0),
            (0.99, None, 5.0),
            (1.0, None, 5.0),
            (1.0, None, 0.99),
            (50.0, "half", 1.0),
            (40.25, "a\nb", 600.0),
            (99.96, "", 100.0),
            (100.0, "all", 100.0),
            (120.0, "x" * 300, None),
        ),
    ),
    "precision": (precision, STATS),
}


def texts() -> Iterator[str]:
    for name, (function, values) in FUNCTIONS.items():
        for value in values:
            shown = repr(value) if len(repr(value)) < 80 else "…"
            yield f"{name} {shown}: {function(value)!r}"


def test_values_at_the_edges_of_their_forms() -> None:
    snapshots.same_as(FOLDER / "values.txt", "\n".join(texts()))


def drawn(lines: Iterable[Iterable[Cell]]) -> Iterator[str]:
    """Lines of cells, each with its role."""
    for line in lines:
        cells = list(line)
        assert {role for _, role in cells} <= ROLES.keys()
        yield "  " + "".join(f"{text}[{role}]" for text, role in cells)


def edge(kind: str, child: int, parent: int, state: State | None, *, waived: bool = False) -> Any:
    """A job that waits for another one."""
    return Dependency(
        kind, f"job-{child}\n", child, State.WAITING, f"job-{parent}", parent, state, waived
    )


TREES = {
    "alone": Tree((), (), complete=True),
    "many": Tree(
        (
            edge("after_any", 5, 4, State.PROCESSING),
            edge("after", 5, 3, State.DEAD, waived=True),
            edge("after", 4, 2, State.COMPLETED),
            edge("after_failed", 3, 2, State.COMPLETED),
            edge("after", 2, 1, None),
        ),
        (edge("after", 7, 5, None), edge("after", 6, 5, None), edge("after", 8, 6, None)),
        complete=False,
    ),
}

ALL = dict.fromkeys(State, 1200)
STATUSES = {
    "empty": Status({}, {}, (), None),
    "no workers": Status(
        {State.FAILED: 1}, {"default": {State.FAILED: 1}}, (), NOW - 90, ("mail", "b", "c", "d")
    ),
    "completed only": Status({State.COMPLETED: 3}, {}, (), None),
    "busy": Status(
        ALL,
        {"b": ALL, "a": {State.WAITING: 5}, "c": {State.PENDING: 1}, "d": {State.PENDING: 1}},
        (worker("w-1", "busy", queues=("b",), job="j"), worker("w-2", queues=("b",))),
        NOW - 3,
    ),
    "served": Status({State.PENDING: 1}, {"a": {State.PENDING: 1}}, (worker("w-1"),), None),
}
UNSERVED = Status(
    {},
    {name: {State.PENDING: 1} for name in ("a", "b" * 40, "c", "d")},
    (worker("w", queues=("x",)),),
    None,
)


def pages() -> Iterator[str]:
    for name, tree in TREES.items():
        yield f"tree {name}"
        yield from drawn(tree_lines(job("job-5", State.WAITING, seq=5), tree))
        yield f"  {tree_json(tree)}"
    for name, status in STATUSES.items():
        yield f"status {name}"
        yield from drawn(status_lines(status, NOW))
    yield f"no worker: {no_worker_for(STATUSES['empty'])}"
    yield f"not served: {no_worker_for(UNSERVED)}"
    yield f"two not served: {no_worker_for(UNSERVED, {'c', 'd', 'x'})}"
    yield f"served: {no_worker_for(UNSERVED, {'x'})!r}"
    for workers in (WORKERS, WORKERS[:3], ()):
        yield from drawn([summary_cells(ALL if workers else {}, workers)])
    counts: dict[Reason | None, int] = {None: 1200, Reason.HELD: 1, Reason.NOT_DUE: 2}
    for found in (counts, {}):
        yield from drawn([summary_line(found)])
        yield f"  {summary_rows(found)}"
    for one in JOBS:
        yield f"why {one.id}"
        yield from drawn(why_lines(Why(one, ()), NOW))
    yield "why blocked"
    yield from drawn(why_lines(Why(JOBS[0], BLOCKERS), NOW))
    for blocker in BLOCKERS:
        line, command = blocker_lines(blocker, NOW, "/q.db")
        yield from drawn([line])
        yield f"  $ {command}"
    for info in SCHEDULES:
        yield f"schedule {info.schedule.name}"
        yield from drawn([field[1:]] for field in schedule_fields(info, NOW))
    for name, text, _ in schedule_fields(SCHEDULES[1], NOW, show_env=True):
        yield f"  {name}: {text}"
    for shown in (
        Shown(SCHEDULES[1], (NOW, NOW + 0.5 * DAY + 1), JOBS[:3], ""),
        Shown(SCHEDULES[7], (NOW,), (JOBS[13], JOBS[4]), ""),
        Shown(SCHEDULES[0], (), (), "no such\nzone"),
    ):
        yield "times and runs"
        yield from drawn(times_and_runs(shown, NOW))
    yield str(shown_json(Shown(SCHEDULES[1], (NOW,), JOBS[3:4], ""))["next_times"])
    yield str(shown_json(Shown(SCHEDULES[1], (), JOBS[3:4], ""))["runs"][0]["env"])
    yield str(shown_json(Shown(SCHEDULES[1], (), JOBS[3:4], ""), show_env=True)["runs"][0]["env"])


def test_pages_and_lines_with_their_roles() -> None:
    snapshots.same_as(FOLDER / "pages.txt", "\n".join(pages()))
