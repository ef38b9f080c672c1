"""Actions on schedules: pause, resume, run now, remove."""

from __future__ import annotations

from queuectl_core.domain.schedule import ScheduleInfo
from queuectl_core.queue import Queue

from .actions import Action
from .format import cli, exact_age, short
from .schedules import command_of, enqueued_at, pause_text


def pause_or_resume(info: ScheduleInfo, now: float, reason: str | None = None) -> Action:
    """Resume a schedule that is paused, or pause it. Asks."""
    name = info.schedule.name
    details = [f"{name}: {info.schedule.when}"]
    if info.schedule.paused:

        async def resume(queue: Queue) -> str:
            done = (await queue.resume_schedule(name)).schedule
            return f"schedule {name} is resumed{_next(enqueued_at(done), queue.clock())}"

        details[0] += f"; paused {pause_text(info.schedule)}"
        return Action(cli("schedule", "resume", name), resume, f"Resume schedule {name}?", details)
    words = ["--reason", reason] if reason else []

    async def pause(queue: Queue) -> str:
        await queue.pause_schedule(name, reason)
        return f"schedule {name} is paused until it is resumed"

    details[0] += _next(enqueued_at(info.schedule), now)
    return Action(cli("schedule", "pause", name, *words), pause, f"Pause schedule {name}?", details)


def run_now(name: str) -> Action:
    """Enqueue a run outside the times of a schedule."""

    async def run(queue: Queue) -> str:
        return f"{(await queue.run_schedule(name)).id} is enqueued"

    return Action(cli("schedule", "run", name), run)


def ask_to_run(info: ScheduleInfo) -> Action:
    """The same, but it asks: for a single key."""
    name = info.schedule.name
    made = run_now(name)
    details = [f"{name}: {short(command_of(info.schedule), 100)}"]
    return Action(made.command, made.run, f"Run schedule {name} now?", details)


def remove(info: ScheduleInfo) -> Action:
    """Remove a schedule. Asks."""
    name = info.schedule.name

    async def run(queue: Queue) -> str:
        await queue.remove_schedule(name)
        return f"schedule {name} is removed; its jobs stay"

    details = [f"{name}: {info.schedule.when}", "its jobs stay"]
    return Action(cli("schedule", "remove", name), run, f"Remove schedule {name}?", details)


def _next(at: float | None, now: float) -> str:
    return "" if at is None else f"; next {exact_age(at, now)}"
