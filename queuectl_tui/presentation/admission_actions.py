"""Actions that decide whether jobs may start: holding jobs, editing them, and limits of queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from queuectl_core.domain.model import Job, QueueInfo
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration
from queuectl_core.queue import Queue

from .actions import NAMED, Action, MatchingJobs, _came, _matching, _named, _what
from .format import cli, command_text, plural
from .queues import limits_text, pause_text


def hold(jobs: Sequence[Job]) -> Action:
    """Let these jobs wait until they are released. Asks if there are several."""

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.hold(jobs, strict=False), len(jobs), "held")
        await queue.hold(jobs)
        return f"{jobs[0].id} is held until it is released"

    question = f"Hold {_what(jobs)}?" if len(jobs) > 1 else None
    command = cli("hold", *(job.id for job in jobs))
    return Action(command, run, question, _named(jobs) if question else ())


def release(jobs: Sequence[Job]) -> Action:
    """Release held jobs. Asks if there are several."""

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.release(jobs, strict=False), len(jobs), "released")
        await queue.release(jobs)
        return f"{jobs[0].id} is released"

    question = f"Release {_what(jobs)}?" if len(jobs) > 1 else None
    command = cli("release", *(job.id for job in jobs))
    return Action(command, run, question, _named(jobs) if question else ())


def hold_matching(found: Sequence[MatchingJobs]) -> Action:
    return _matching(found, "Hold", "held", ("hold", "hold"), Queue.hold_all)


def release_matching(found: Sequence[MatchingJobs]) -> Action:
    return _matching(found, "Release", "released", ("release", "release"), Queue.release_all)


def remove_with_children(job: Job, waiting: Sequence[str] = (), *, whole: bool = True) -> Action:
    """Remove a job and the jobs that wait for it. ``waiting``: their ids, for the question;
    ``whole``: these are all."""

    async def run(queue: Queue) -> str:
        count = await queue.remove([job], cascade=True)
        more = f" with {plural(count - 1)} that waited for it" if count > 1 else ""
        return f"{job.id} is deleted{more}"

    count = plural(len(waiting)) if whole else f"more than {plural(len(waiting))}"
    what = f"the {count} that wait{'s' * (len(waiting) == 1)} for it" if waiting else OTHERS
    question = f"Delete {job.id} and {what}, with history and output?"
    details = [*_named([job]), *(clean_line(name, 128) for name in waiting[:NAMED])]
    if len(waiting) > NAMED:
        details.append(f"… and {len(waiting) - NAMED:,} more")
    return Action(cli("remove", "--cascade", job.id), run, question, details)


OTHERS = "the jobs that wait for it"


EDIT_OPTIONS = {
    "command": "--command",
    "priority": "--priority",
    "run_at": "--run-at",
    "queue": "--queue",
    "timeout_seconds": "--timeout",
    "max_retries": "--max-retries",
    "key": "--key",
}


def edit_fields(job: Job, changes: Mapping[str, Any]) -> Action:
    """Change fields of a job that does not run. ``changes``: by field, as ``Queue.edit`` takes
    them."""
    words = []
    for field, option in EDIT_OPTIONS.items():
        if field in changes:
            value = changes[field]
            text = command_text(value) if field == "command" else str(value)
            text = f"{value:.15g}" if isinstance(value, float) else text
            words += ["--no-key"] if value is None else [option, text]

    async def run(queue: Queue) -> str:
        await queue.edit(job, changes)
        names = ", ".join(field.replace("_", " ") for field in EDIT_OPTIONS if field in changes)
        return f"{job.id} is changed: {names}"

    return Action(cli("edit", job.id, *words), run)


def pause_queues(
    queues: Sequence[QueueInfo], *, seconds: float | None = None, reason: str | None = None
) -> Action:
    """Start no job of these queues any more."""
    words = [] if seconds is None else ["--for", format_duration(seconds)]
    words += ["--reason", reason] if reason else []
    names = [queue.settings.name for queue in queues]

    async def run(queue: Queue) -> str:
        for name in names:
            await queue.pause_queue(name, seconds=seconds, reason=reason)
        until = "until it is resumed" if len(names) == 1 else "until they are resumed"
        until = until if seconds is None else f"for {format_duration(seconds)}"
        return f"{_queues(names)} paused {until}"

    details = [
        f"{clean_line(one.settings.name, 60)}: {_wait(one)}, {plural(one.running)} running: "
        f"{'it goes' if one.running == 1 else 'they go'} on"
        if one.running
        else f"{clean_line(one.settings.name, 60)}: {_wait(one)}"
        for one in queues[:5]
    ]
    commands = " && ".join(cli("queue", "pause", name, *words) for name in names)
    return Action(commands, run, f"Pause {_queues(names)}?", details)


def pause_or_resume(queue: QueueInfo, now: float) -> Action:
    """Resume a queue that is paused, or pause it."""
    return resume_queues([queue], now) if queue.settings.paused(now) else pause_queues([queue])


def resume_queues(queues: Sequence[QueueInfo], now: float) -> Action:
    """End the pause of these queues."""
    names = [queue.settings.name for queue in queues]

    async def run(queue: Queue) -> str:
        for name in names:
            await queue.resume_queue(name)
        return f"{_queues(names)} resumed"

    details = []
    for one in queues[:5]:
        paused = pause_text(one.settings, now)
        text = f"{one.settings.name}: {_wait(one)}"
        details.append(f"{text}; paused {paused}" if paused else text)
    commands = " && ".join(cli("queue", "resume", name) for name in names)
    return Action(commands, run, f"Resume {_queues(names)}?", details)


def set_queue(name: str, given: Mapping[str, Any]) -> Action:
    """Set limits of a queue, or take them away (``none``)."""
    words = []
    for field, value in given.items():
        words += [f"--{field.replace('_', '-')}", "none" if value is None else str(value)]

    async def run(queue: Queue) -> str:
        settings = await queue.set_queue(name, given)
        return f"queue {name}: {limits_text(settings) or 'no limits'}"

    return Action(cli("queue", "set", name, *words), run)


def remove_queue(name: str) -> Action:
    """Forget the settings of a queue."""

    async def run(queue: Queue) -> str:
        await queue.remove_queue(name)
        return f"the settings of queue {name} are forgotten"

    question = f"Forget the limits of queue {name}, and whether it is paused?"
    return Action(cli("queue", "remove", name), run, question)


def _wait(queue: QueueInfo) -> str:
    return f"{plural(queue.waiting)} {'waits' if queue.waiting == 1 else 'wait'}"


def _queues(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"queue {names[0]}"
    more = "" if len(names) <= 5 else f" and {len(names) - 5:,} more"
    return f"queues {', '.join(names[:5])}{more}"
