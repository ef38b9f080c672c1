"""What each action asks, the command line that it shows, what it does, and what it says then.

:mod:`tests.console.test_command_lines` shows that the command line does the same to a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain import hooks
from queuectl_core.domain.config import Setting
from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Filter, QueueSettings, Rate, State
from queuectl_tui.presentation import actions, admission_actions, hook_actions, schedule_actions
from queuectl_tui.presentation.actions import Action, MatchingJobs
from queuectl_tui.presentation.format import on_lines
from queuectl_tui.presentation.job_form import (
    EDIT_ENTRIES,
    ENTRIES,
    changes_of,
    command_line_of,
    field_texts,
    job_of,
)

from .. import snapshots
from ..support import NOW, defaults
from .samples import HOOKS, JOBS, QUEUES, SCHEDULES, WORKERS, job, worker

FOLDER = Path(__file__).parent / "snapshots"


class Recorder:
    """Stands for a queue: keeps what it is asked for, and gives one answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[str] = []

    def clock(self) -> float:
        return NOW

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **named: Any) -> Any:
            shown = [_shown(arg) for arg in args]
            shown += [f"{key}={_shown(value)}" for key, value in named.items()]
            self.calls.append(f"{name}({', '.join(shown)})")
            return self.answer

        return call


def _shown(value: Any) -> str:
    if isinstance(value, Filter):
        given = value._asdict().items()
        return " ".join(f"{name}={one}" for name, one in given if one)
    ids = getattr(value, "id", None)
    if ids is not None:
        return f"<{ids}>"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value) if not isinstance(value, State) else value.value


def shown(action: Action, answer: Any = None) -> Iterator[str]:
    yield f"$ {action.command}"
    if action.question is not None:
        yield f"? {action.question}"
    yield from (f"  {line}" for line in action.details)
    queue: Any = Recorder(answer)
    yield f"= {asyncio.run(action.run(queue))}"  # type: ignore[arg-type]
    yield from (f"  {call}" for call in queue.calls)


def many(count: int, state: State = State.PENDING) -> list[Any]:
    return [job(f"job-{number}", state) for number in range(count)]


def matching(*states: State, **filters: Any) -> MatchingJobs:
    return MatchingJobs(
        Filter(states, **filters),
        dict.fromkeys(states, 1200),
        {State.COMPLETED: 3, State.CANCELLED: 0},
    )


PLAIN = JOBS[0]
RICH = JOBS[3]
RUNS = JOBS[4]
DEAD = [job("d-1", State.DEAD), job("d-2", State.DEAD)]
MIXED = [PLAIN, RUNS, *DEAD]
FILTERS = {
    "queues": ("mail", "a b"),
    "keys": ("k",),
    "search": "it's",
    "exit_codes": (1, -9),
    "reasons": ("exit #", "r" * 300),
}

OF_JOBS = {
    "retry": actions.retry,
    "cancel": actions.cancel,
    "remove": actions.remove,
    "hold": admission_actions.hold,
    "release": admission_actions.release,
}
OF_FILTERS = {
    "retry": actions.retry_matching,
    "cancel": actions.cancel_matching,
    "remove": actions.remove_matching,
    "hold": admission_actions.hold_matching,
    "release": admission_actions.release_matching,
}
DONE = JOBS[10]


def of_jobs() -> Iterator[str]:
    for name, make in OF_JOBS.items():
        chosen: Sequence[tuple[Sequence[Any], int]] = (
            ([PLAIN], 1),
            ([RUNS], 1),
            ([DONE], 1),
            (DEAD[:1], 1),
            (DEAD, 2),
            (MIXED, 3),
            (many(5), 6),
            (many(6), 6),
        )
        for jobs, done in chosen:
            yield f"-- {name} {len(jobs)}"
            yield from shown(make(jobs), done)
    for name, make_all in OF_FILTERS.items():
        found: Sequence[list[MatchingJobs]] = (
            [matching(State.DEAD, **FILTERS)],
            [matching(State.PENDING, State.PROCESSING, search="x" * 121)],
            [matching(State.DEAD), matching(State.FAILED)],
            [MatchingJobs(Filter((State.PENDING,)), {State.PENDING: 1})],
            [MatchingJobs(Filter((State.PROCESSING,)), {State.PROCESSING: 1})],
        )
        for one in found:
            yield f"-- {name} matching, {sum(part.total for part in one)} jobs"
            yield from shown(make_all(one), 1)


def of_one_job() -> Iterator[str]:
    remove = admission_actions.remove_with_children
    ids = [f"child-{number}" for number in range(6)]
    for waiting, whole, count in (([], True, 1), (ids[:1], True, 2), (ids, False, 7)):
        yield f"-- remove with {len(waiting)} children"
        yield from shown(remove(PLAIN, waiting, whole=whole), count)
    yield "-- edit"
    changes = {"command": ("a", "b c"), "priority": 5, "timeout_seconds": 90.5, "key": None}
    yield from shown(admission_actions.edit_fields(PLAIN, changes))
    yield from shown(admission_actions.edit_fields(PLAIN, {"queue": "q", "run_at": "+5m"}))
    yield "-- a copy, and another command"
    for one in (RICH, PLAIN, PLAIN._replace(command="-x", has_stdin=True, env={"A": "1"})):
        yield actions.copy(one, one.command).command
        yield actions.edit(one, one.command).command
    yield "-- enqueue"
    for existing in (True, False):
        made = job("made")._replace(existing=existing)
        yield from shown(actions.enqueue({"command": "x"}, "queuectl enqueue x"), [made])


def of_workers() -> Iterator[str]:
    busy = [worker(f"b-{number}", "busy", job=f"j-{number}") for number in range(6)]
    started = [worker(f"w-{number}") for number in range(7)]
    yield from shown(actions.start_workers(1), started[:1])
    yield from shown(actions.start_workers(7, ["a", "b c"]), started)
    for workers, everyone in (
        (WORKERS[:1], False),
        (WORKERS[:1], True),
        (busy[:1], False),
        (WORKERS[:3], False),
        (busy[:5], False),
        (busy, True),
    ):
        yield f"-- stop {len(workers)}"
        yield from shown(actions.stop_workers(workers, everyone=everyone))


def of_queues() -> Iterator[str]:
    full, paused = QUEUES[1], QUEUES[3]
    several = [*QUEUES[:5], QUEUES[6]]
    pause = admission_actions.pause_queues
    yield from shown(pause([full]))
    yield from shown(pause([QUEUES[2]], seconds=90, reason="it's late"))
    yield from shown(pause(several[:2], seconds=3600.0))
    yield from shown(pause(several))
    yield from shown(admission_actions.resume_queues([paused], NOW))
    yield from shown(admission_actions.resume_queues(several, NOW))
    yield from shown(admission_actions.pause_or_resume(full, NOW))
    yield from shown(admission_actions.pause_or_resume(paused, NOW))
    answers = (QueueSettings("mail"), QueueSettings("mail", 1, 2, 3, Rate(4, 60)))
    for answer in answers:
        given = {"limit": 5, "per_host": None, "rate": "60/1m"}
        yield from shown(admission_actions.set_queue("mail", given), answer)
    yield from shown(admission_actions.remove_queue("mail"))


def of_hooks() -> Iterator[str]:
    yield from shown(hook_actions.pause_hooks(["a"]))
    yield from shown(hook_actions.pause_hooks(["a", "b"], "it's late"))
    yield from shown(hook_actions.resume_hooks(["a"]))
    yield from shown(hook_actions.resume_hooks(["a", "b"]))
    yield from shown(hook_actions.remove_hook(HOOKS[0]))
    yield from shown(hook_actions.remove_hook(HOOKS[2]))
    accepted = hooks.Tested(
        accepted=True, said="HTTP 200 OK", output=" x\n", status=200, exit_code=None
    )
    refused = hooks.Tested(accepted=False, said="exit 1", output="", status=None, exit_code=1)
    yield from shown(hook_actions.try_hook("a"), accepted)
    yield from shown(hook_actions.try_hook("a", HOOKS[0]), accepted._replace(output="y" * 201))
    yield from shown(hook_actions.try_hook("a", HOOKS[0]), refused)


def of_schedules() -> Iterator[str]:
    for info in (SCHEDULES[0], SCHEDULES[1], SCHEDULES[6], SCHEDULES[7]):
        yield f"-- {info.schedule.name}"
        resumed = SCHEDULES[0]
        yield from shown(schedule_actions.pause_or_resume(info, NOW, "it's late"), resumed)
        yield from shown(schedule_actions.pause_or_resume(info, NOW), SCHEDULES[6])
    yield from shown(schedule_actions.run_now("a"), job("a@1"))
    yield from shown(schedule_actions.ask_to_run(SCHEDULES[1]), job("a@1"))
    yield from shown(schedule_actions.remove(SCHEDULES[1]))


def of_settings() -> Iterator[str]:
    yield from shown(actions.config_set(" timeout  5m "), Setting("timeout", 300.0, "store"))
    yield from shown(actions.config_unset("MAX_RETRIES"), Setting("max-retries", 3, "env"))
    for text in ("timeout", "timeout soon", "colour red"):
        with pytest.raises(QueueError) as error:
            actions.config_set(text)
        yield f"{text}: {error.value.message} ({error.value.hint})"


@pytest.mark.parametrize(
    "kind",
    [of_jobs, of_one_job, of_workers, of_queues, of_hooks, of_schedules, of_settings],
    ids=lambda kind: kind.__name__[3:],
)
def test_actions(kind: Any) -> None:
    snapshots.same_as(FOLDER / f"actions-{kind.__name__[3:]}.txt", "\n".join(kind()))


# -- forms ------------------------------------------------------------------------------

FILLED = {
    "command": " echo hi ",
    "id": "a",
    "queue": "mail",
    "priority": "5",
    "run_at": "+10s",
    "max_retries": "2",
    "backoff_base": "1.5",
    "timeout_seconds": "5m",
    "cwd": "/",
    "env": "A=1 B='two words'",
    "nice": "19",
    "memory_limit": "512MiB",
    "cpu_seconds": "1m",
    "output_limit": "1MiB",
    "key": "k",
    "unique": "u",
    "unique_for": "30m",
    "after": "a, b  c",
    "after_any": "d",
    "after_failed": "e",
    "on_parent_failure": "hold",
    "hold": " Yes ",
    "stdin": "x⏎y",
    "secrets": "T=file:/run/t",
}
ALSO = {
    "unique_until": {"command": "x", "unique": "u", "unique_until": "start"},
    "json": {"command": "{ a; }", "hold": "no"},
    "option": {"command": "-x"},
    "list": {"command": "[ -d / ]", "hold": "0"},
    "blank": {"command": "x", "env": " ", "after": " ", "stdin": " ", "hold": "y"},
}
WRONG = {
    "env": ("A", "=1", "'", "A=1 " + "b" * 50),
    "secrets": ("T", "T=x", "'"),
    "hold": ("perhaps", "x" * 50),
    "priority": ("high", "1.5", "inf", "nan"),
    "max_retries": ("-1",),
    "timeout_seconds": ("soon",),
    "nice": ("20",),
    "unique_until": ("never",),
    "after": ("a/b c\x07",),
}


def refused(texts: dict[str, str]) -> str:
    try:
        return f"accepted: {job_of(texts, defaults())}"
    except QueueError as error:
        return f"{error.message} ({error.hint})"


def typed(one: Any) -> dict[str, str]:
    """The texts of the form as it has them while nobody types."""
    return {name: on_lines(text) for name, text in field_texts(one).items()}


def form() -> Iterator[str]:
    for timeout in ("0", "90"):
        for entry in ENTRIES:
            yield f"{entry.field} {entry.option}: {entry.hint(defaults(timeout=timeout))}"
    for entry in EDIT_ENTRIES:
        yield f"edit {entry.field} {entry.option}: {entry.hint(defaults())}"
    for name, texts in {"filled": FILLED, **ALSO}.items():
        yield f"-- {name}"
        yield command_line_of(texts)
        yield str(job_of(texts, defaults()))
    for field, wrong in WRONG.items():
        for text in wrong:
            yield f"{field} {text}: {refused({'command': 'x', field: text})}"
    yield refused({"command": " "})
    for one in (PLAIN, RICH, JOBS[13]._replace(command="x" * 4000)):
        yield f"{one.id}: {str(field_texts(one))[:600]}"
        yield f"  the same: {changes_of(one, typed(one), defaults())}"
    for one in (PLAIN._replace(command="x" * 4001), PLAIN._replace(command="a\tb")):
        yield f"  without its command: {sorted(field_texts(one))}"
    before = typed(RICH)
    after = before | {"priority": "1.0", "key": "", "command": "a 'b c'", "timeout_seconds": "5m"}
    yield str(changes_of(RICH, after, defaults()))
    yield str(changes_of(PLAIN, typed(PLAIN) | {"command": "a⏎b", "key": "k"}, defaults()))
    for wrong_command in ("'", " "):
        with pytest.raises(QueueError) as error:
            changes_of(RICH, before | {"command": wrong_command}, defaults())
        yield f"{error.value.message} ({error.value.hint})"


def test_the_forms_of_jobs() -> None:
    snapshots.same_as(FOLDER / "forms.txt", "\n".join(form()))
