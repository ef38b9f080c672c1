"""Everything the console can change: what to ask first, the command line that does the same,
and the doing of it.

An action is made from the rows as they are when the key is pressed, and holds them: whatever moves
on the screen meanwhile, it does what was meant. A job that changed its state since, or ran, is left
as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from queuectl_core.config import canonical, parse_value
from queuectl_core.errors import InvalidInput
from queuectl_core.model import Command, DeadGroup, Filter, Job, State, Worker
from queuectl_core.queue import Queue
from queuectl_core.views import amend, copy_job, group_filter

from .format import cli, command_line, plural, short

NAMED = 5
"""Jobs a question names before it only counts."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. ``question`` None: it is done without asking."""

    command: str
    """The equivalent command line."""
    run: Callable[[Queue], Awaitable[str]]
    """Does it; returns what came of it."""
    question: str | None = None
    details: Sequence[str] = ()


def _ids(jobs: Sequence[Job]) -> list[str]:
    return [job.id for job in jobs]


def _named(jobs: Sequence[Job]) -> list[str]:
    lines = [f"{job.id}  {command_line(job.command)}" for job in jobs[:NAMED]]
    if len(jobs) > NAMED:
        lines.append(f"… and {len(jobs) - NAMED:,} more")
    return lines


def _came(done: int, asked: int, word: str) -> str:
    return (
        f"{word} {plural(done, 'job')}" if done == asked else f"{word} {done:,} of {asked:,} jobs"
    )


def retry(jobs: Sequence[Job]) -> Action:
    """Run these jobs again. One that completed, or more than one: asks."""
    dead = all(job.state is State.DEAD for job in jobs)
    command = cli(*(("dlq", "retry") if dead else ("retry",)), *_ids(jobs))

    async def one(queue: Queue) -> str:
        await queue.retry(jobs)
        return f"{jobs[0].id} is due again"

    async def many(queue: Queue) -> str:
        return _came(await queue.retry(jobs, strict=False), len(jobs), "retried")

    if len(jobs) == 1:
        job = jobs[0]
        if job.state is not State.COMPLETED:
            return Action(command, one)
        return Action(command, one, f"Run {job.id} again? It completed.", _named(jobs))
    return Action(command, many, f"Retry {plural(len(jobs), 'marked job')}?", _named(jobs))


def cancel(jobs: Sequence[Job]) -> Action:
    """Cancel these jobs."""
    what = jobs[0].id if len(jobs) == 1 else plural(len(jobs), "marked job")
    running = sum(job.state is State.PROCESSING for job in jobs)
    details = _named(jobs)
    if running:
        details.append(f"{plural(running, 'job')} running: ended with SIGTERM, then SIGKILL")

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.cancel(jobs, strict=False), len(jobs), "cancelled")
        [job] = jobs
        await queue.cancel(jobs)
        word = "is being ended" if job.state is State.PROCESSING else "is cancelled"
        return f"{job.id} {word}"

    return Action(cli("cancel", *_ids(jobs)), run, f"Cancel {what}?", details)


def remove(jobs: Sequence[Job]) -> Action:
    """Delete these jobs with their history."""
    what = jobs[0].id if len(jobs) == 1 else plural(len(jobs), "marked job")
    dead = all(job.state is State.DEAD for job in jobs)
    verb = ("dlq", "purge", "-y") if dead else ("remove",)

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.remove(jobs, strict=False), len(jobs), "deleted")
        await queue.remove(jobs)
        return f"{jobs[0].id} is deleted"

    question = f"Delete {what}, with history and output?"
    return Action(cli(*verb, *_ids(jobs)), run, question, _named(jobs))


def filter_words(where: Filter) -> list[str]:
    """A filter as options of the command line."""
    words = []
    for state in where.states:
        words += ["--state", state.value]
    for queue in where.queues:
        words += ["--queue", queue]
    if where.search is not None:
        words += ["--search", where.search]
    for code in where.exit_codes:
        words += ["--exit-code", str(code)]
    for reason in where.reasons:
        words += ["--reason", reason]
    return words


def _dlq_words(where: Filter) -> list[str]:
    return filter_words(replace(where, states=()))


def _is_dlq(where: Filter) -> bool:
    return where.states == (State.DEAD,)


def retry_matching(where: Filter, count: int) -> Action:
    """Run every matching job again that may be."""
    if _is_dlq(where):
        command = cli("dlq", "retry", "--all", *_dlq_words(where))
    else:
        command = cli("retry", "--all", *filter_words(where))

    async def run(queue: Queue) -> str:
        return f"retried {plural(await queue.retry_all(where), 'job')}"

    return Action(command, run, f"Retry {_all(count)}?", _said(where))


def cancel_matching(where: Filter, count: int) -> Action:
    """Cancel every matching job that waits or runs."""

    async def run(queue: Queue) -> str:
        return f"cancelled {plural(await queue.cancel_all(where), 'job')}"

    command = cli("cancel", "--all", *filter_words(where))
    return Action(command, run, f"Cancel {_all(count)}?", _said(where))


def remove_matching(where: Filter, count: int) -> Action:
    """Delete every matching job that is not running."""
    if _is_dlq(where):
        command = cli("dlq", "purge", "-y", "--all", *_dlq_words(where))
    else:
        command = cli("remove", "--all", *filter_words(where))

    async def run(queue: Queue) -> str:
        return f"deleted {plural(await queue.remove_all(where), 'job')}"

    question = f"Delete {_all(count)}, with history and output?"
    return Action(command, run, question, _said(where))


def _all(count: int) -> str:
    return "the one job that matches" if count == 1 else f"all {plural(count, 'job')} that match"


def _said(where: Filter) -> list[str]:
    said = []
    if where.states:
        said.append("state: " + ", ".join(where.states))
    if where.search is not None:
        said.append(f"text: {short(where.search, 120)}")
    said += [f"died of: {short(reason, 160)}" for reason in where.reasons]
    return said or ["every job in the store"]


def retry_groups(groups: Sequence[DeadGroup]) -> Action:
    """Run every dead job of these groups again."""
    return _groups(groups, "retry", "Retry", "retried", Queue.retry_all)


def purge_groups(groups: Sequence[DeadGroup]) -> Action:
    """Delete every dead job of these groups."""
    return _groups(groups, "purge", "Delete", "deleted", Queue.remove_all)


def _groups(
    groups: Sequence[DeadGroup],
    verb: str,
    ask: str,
    word: str,
    do: Callable[[Queue, Filter], Awaitable[int]],
) -> Action:
    count = sum(group.count for group in groups)
    yes = ["-y"] if verb == "purge" else []
    commands = [cli("dlq", verb, *yes, "--all", "--reason", group.reason) for group in groups]

    async def run(queue: Queue) -> str:
        done = 0
        for group in groups:
            done += await do(queue, group_filter(group))
        return f"{word} {plural(done, 'job')}"

    details = [f"{group.count:,} × {short(group.reason, 160)}" for group in groups]
    question = f"{ask} {plural(count, 'dead job')}?"
    return Action(" && ".join(commands), run, question, details)


def start_workers(count: int) -> Action:
    """Start workers in the background, on this host."""

    async def run(queue: Queue) -> str:
        workers = await queue.start_workers(count)
        return f"{plural(count, 'worker')} up: " + ", ".join(w.id for w in workers[:NAMED])

    return Action(cli("worker", "start", "--detach", "--count", str(count)), run)


def stop_workers(workers: Sequence[Worker], *, everyone: bool = False) -> Action:
    """Ask workers to stop after the job in hand; asks first if one is busy, or for all."""
    busy = [worker for worker in workers if worker.job is not None]
    names = [worker.id for worker in workers]
    command = cli("worker", "stop", *([] if everyone else names))

    async def run(queue: Queue) -> str:
        await queue.stop_workers(workers, now=False)
        waiting = f", {plural(len(busy), 'job')} to finish first" if busy else ""
        return f"stopping {', '.join(names[:NAMED])}{'…' if len(names) > NAMED else ''}{waiting}"

    if not busy and len(workers) == 1:
        return Action(command, run)
    what = names[0] if len(names) == 1 else plural(len(names), "worker")
    details = [f"{w.id} is running {w.job}, and finishes it first" for w in busy[:NAMED]]
    return Action(command, run, f"Stop {what}?", details)


def enqueue(source: Mapping[str, Any], command: str) -> Action:
    """Enqueue one job."""

    async def run(queue: Queue) -> str:
        job = (await queue.enqueue([source]))[0]
        return f"enqueued {job.id}"

    return Action(command, run)


def edit(job: Job, command: Command) -> Action:
    """Run a job again with another command."""

    async def run(queue: Queue) -> str:
        changed = await amend(queue, job, command)
        return f"{changed.id} is due again: {command_line(changed.command)}"

    shown = command if isinstance(command, str) else command_line(command)
    return Action(cli("retry", job.id, "--command", shown), run)


def copy(job: Job, command: Command) -> Action:
    """Enqueue a copy of a job with another command."""

    async def run(queue: Queue) -> str:
        made = await copy_job(queue, job, command)
        return f"enqueued {made.id}, a copy of {job.id}"

    shown = command if isinstance(command, str) else command_line(command)
    return Action(cli("enqueue", shown), run)


def config_set(text: str) -> Action:
    """Change a setting, from ``KEY VALUE``. InvalidInput or NotFound when it will not do."""
    key, _, value = text.strip().partition(" ")
    name = canonical(key)
    if not value.strip():
        raise InvalidInput(f"{name}: give a value too", "write KEY VALUE")
    parse_value(name, value.strip())

    async def run(queue: Queue) -> str:
        setting = await queue.config_set(name, value.strip())
        return f"{name} is {setting.value} ({setting.source})"

    return Action(cli("config", "set", name, value.strip()), run)


def config_unset(text: str) -> Action:
    """Forget a stored setting. NotFound when there is none of that name."""
    name = canonical(text)

    async def run(queue: Queue) -> str:
        setting = await queue.config_unset(name)
        return f"{name} is {setting.value} ({setting.source})"

    return Action(cli("config", "unset", name), run)
