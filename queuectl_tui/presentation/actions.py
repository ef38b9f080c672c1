"""Everything that an operator can change: the question, the equivalent command line, and the code.

An action keeps the rows as they are when the key is pressed. So it does what was meant, also if the
screen changes meanwhile. Jobs that have changed their state since, or have run, are not changed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from queuectl_core.domain.config import canonical, parse_value, show_value
from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.lifecycle import RETRYABLE
from queuectl_core.domain.model import Command, Filter, Job, State, Worker
from queuectl_core.operations.queries import JobView, amend, copy_job
from queuectl_core.queue import Queue

from .format import cli, command_line, command_text, plural, short
from .summary import by_state

NAMED = 5
"""Jobs that a question names; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action. ``question`` None: it runs without a question."""

    command: str
    """The equivalent command line."""
    run: Callable[[Queue], Awaitable[str]]
    """Runs it and returns the result in words."""
    question: str | None = None
    details: Sequence[str] = ()


def _named(jobs: Sequence[Job]) -> list[str]:
    lines = [f"{job.id}  {command_line(job.command)}" for job in jobs[:NAMED]]
    if len(jobs) > NAMED:
        lines.append(f"… and {len(jobs) - NAMED:,} more")
    return lines


def _came(done: int, asked: int, word: str) -> str:
    """The result in words. The numbers differ when jobs have changed since the question. ``done``
    is larger only when there were too many jobs to keep their keys."""
    if done == asked:
        return f"{word} {plural(done)}"
    if done > asked:
        return f"{word} {done:,} jobs ({asked:,} when you were asked)"
    waited = ", or jobs wait for them" if word == "deleted" else ""
    return f"{word} {done:,} of {asked:,} jobs: the others changed since you were asked{waited}"


@dataclass(frozen=True, slots=True)
class MatchingJobs:
    """The jobs that match a filter, as they are counted before a question."""

    where: Filter
    """The filter, with the states that the action allows. With ``seqs``, the action changes only
    those of these jobs that still match."""
    counts: Mapping[State, int]
    others: Mapping[State, int] = field(default_factory=dict)
    """Jobs that match but are left out: completed and cancelled ones, unless the filter names the
    state."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


UNASKED = (State.COMPLETED, State.CANCELLED)
"""States whose jobs are retried together only when the filter names the state."""

KEY_LIMIT = 20_000
"""Jobs whose keys are kept until a question is answered. If there are more, the filter is used."""


async def count_matching(queue: Queue, where: Filter, allowed: tuple[State, ...]) -> MatchingJobs:
    """The jobs that match ``where`` in an ``allowed`` state, by state, and which ones they are."""
    unasked: tuple[State, ...] = ()
    if allowed == RETRYABLE and not where.states and not where.reasons:
        unasked = UNASKED
        allowed = tuple(state for state in allowed if state not in UNASKED)
    narrowed = where.narrowed(allowed)
    counts: dict[State, int] = {}
    seqs: list[int] | None = []
    for state in narrowed.states:
        here = narrowed._replace(states=(state,))
        if seqs is not None:
            keys = await queue.matching(here, KEY_LIMIT + 1 - len(seqs))
            seqs = [*seqs, *keys] if len(seqs) + len(keys) <= KEY_LIMIT else None
            counts[state] = len(keys)
        if seqs is None:
            counts[state] = await queue.count_range(here)
    others = {}
    if not JobView(queue, where).slow:  # counting by text is slow, and this is only a note
        others = {
            state: await queue.count_range(where._replace(states=(state,))) for state in unasked
        }
    exactly = narrowed if seqs is None else narrowed._replace(seqs=tuple(seqs))
    return MatchingJobs(exactly, counts, others)


def retry(jobs: Sequence[Job]) -> Action:
    """Run these jobs again. Asks if there are several, or if the job completed."""
    dead = all(job.state is State.DEAD for job in jobs)
    command = cli(*(("dlq", "retry") if dead else ("retry",)), *(job.id for job in jobs))

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.retry(jobs, strict=False), len(jobs), "retried")
        await queue.retry(jobs)
        return f"{jobs[0].id} is due again"

    if len(jobs) > 1:
        return Action(command, run, f"Retry {_what(jobs)}?", _named(jobs))
    if jobs[0].state is not State.COMPLETED:
        return Action(command, run)
    return Action(command, run, f"Run {jobs[0].id} again? It completed.", _named(jobs))


def _what(jobs: Sequence[Job]) -> str:
    if len(jobs) == 1:
        return jobs[0].id
    counts = {state: sum(job.state is state for job in jobs) for state in State}
    return f"{plural(len(jobs), 'marked job')}: {by_state(counts)}"


def cancel(jobs: Sequence[Job]) -> Action:
    what = _what(jobs)
    running = sum(job.state is State.PROCESSING for job in jobs)
    details = _named(jobs)
    if running:
        details.append(f"{plural(running)} running: ended with SIGTERM, then SIGKILL")

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.cancel(jobs, strict=False), len(jobs), "cancelled")
        [job] = jobs
        await queue.cancel(jobs)
        word = "is being ended" if job.state is State.PROCESSING else "is cancelled"
        return f"{job.id} {word}"

    return Action(cli("cancel", *(job.id for job in jobs)), run, f"Cancel {what}?", details)


def remove(jobs: Sequence[Job]) -> Action:
    what = _what(jobs)
    dead = all(job.state is State.DEAD for job in jobs)
    verb = ("dlq", "purge", "-y") if dead else ("remove",)

    async def run(queue: Queue) -> str:
        if len(jobs) > 1:
            return _came(await queue.remove(jobs, strict=False), len(jobs), "deleted")
        await queue.remove(jobs)
        return f"{jobs[0].id} is deleted"

    question = f"Delete {what}, with history and output?"
    return Action(cli(*verb, *(job.id for job in jobs)), run, question, _named(jobs))


def filter_words(where: Filter) -> list[str]:
    words = []
    for state in where.states:
        words += ["--state", state.value]
    for queue in where.queues:
        words += ["--queue", queue]
    for key in where.keys:
        words += ["--key", key]
    if where.search is not None:
        words += ["--search", where.search]
    for code in where.exit_codes:
        words += ["--exit-code", str(code)]
    for reason in where.reasons:
        words += ["--reason", reason]
    return words


def retry_matching(found: Sequence[MatchingJobs]) -> Action:
    return _matching(found, "Retry", "retried", ("dlq retry", "retry"), Queue.retry_all)


def cancel_matching(found: Sequence[MatchingJobs]) -> Action:
    return _matching(found, "Cancel", "cancelled", ("cancel", "cancel"), Queue.cancel_all)


def remove_matching(found: Sequence[MatchingJobs]) -> Action:
    return _matching(found, "Delete", "deleted", ("dlq purge -y", "remove -y"), Queue.remove_all)


def _matching(
    found: Sequence[MatchingJobs],
    ask: str,
    word: str,
    verbs: tuple[str, str],
    do: Callable[[Queue, Filter], Awaitable[int]],
) -> Action:
    """An action for all that match. ``verbs``: for the DLQ, and for other jobs."""
    commands = []
    for one in found:
        dead = one.where.states == (State.DEAD,)
        words = filter_words(one.where._replace(states=()) if dead else one.where)
        commands.append(cli(*verbs[0 if dead else 1].split(), "--all", *words))
    counts = {state: sum(one.counts.get(state, 0) for one in found) for state in State}
    total = sum(counts.values())

    async def run(queue: Queue) -> str:
        done = 0
        for one in found:
            done += await do(queue, one.where)
        return _came(done, total, word)

    states = [state for state, count in counts.items() if count]
    of = f"{states[0]} {'job' if total == 1 else 'jobs'}" if len(states) == 1 else "jobs"
    question = f"{ask} {total:,} {of}" + (f": {by_state(counts)}" if len(states) > 1 else "")
    if ask == "Delete":
        question += ", with history and output"
    details = [line for one in found for line in _said(one)]
    if counts.get(State.PROCESSING) and ask == "Cancel":
        running = plural(counts[State.PROCESSING])
        details.append(f"{running} running: ended with SIGTERM, then SIGKILL")
    return Action(" && ".join(commands), run, f"{question}?", details)


def _said(found: MatchingJobs) -> list[str]:
    where, said = found.where, []
    if where.search is not None:
        said.append(f"text: {short(where.search, 120)}")
    if where.reasons:
        causes = ", ".join(short(reason, 160) for reason in where.reasons)
        said.append(f"{found.total:,} × {causes}")
    if others := by_state(found.others):
        said.append(f"left as they are: {others} (choose a state with [ ] to include it)")
    return said


def start_workers(count: int, queues: Sequence[str] = ()) -> Action:
    """Start workers in the background, on this host; for these queues, or for all."""

    async def run(queue: Queue) -> str:
        workers = await queue.start_workers(count, queues)
        return f"{plural(count, 'worker')} up: " + ", ".join(w.id for w in workers[:NAMED])

    words = [word for name in queues for word in ("--queue", name)]
    return Action(cli("worker", "start", "--detach", "--count", str(count), *words), run)


def stop_workers(workers: Sequence[Worker], *, everyone: bool = False) -> Action:
    """Stop workers after their current job. Asks if one is busy, or if it is for all."""
    busy = [worker for worker in workers if worker.job is not None]
    names = [worker.id for worker in workers]
    command = cli("worker", "stop", *([] if everyone else names))

    async def run(queue: Queue) -> str:
        await queue.stop_workers(workers, now=False)
        waiting = f", {plural(len(busy))} to finish first" if busy else ""
        return f"stopping {', '.join(names[:NAMED])}{'…' if len(names) > NAMED else ''}{waiting}"

    if not busy and len(workers) == 1 and not everyone:
        return Action(command, run)
    what = names[0] if len(names) == 1 else plural(len(names), "worker")
    if everyone:
        what = f"all {what}" if len(names) > 1 else f"the only worker, {what}"
    details = [f"{w.id} is running {w.job}, and finishes it first" for w in busy[:NAMED]]
    return Action(command, run, f"Stop {what}?", details)


def enqueue(source: Mapping[str, Any], command: str) -> Action:
    async def run(queue: Queue) -> str:
        job = (await queue.enqueue([source]))[0]
        if job.existing:
            return f"nothing was added: {job.id} holds the unique value"
        return f"enqueued {job.id}"

    return Action(command, run)


def edit(job: Job, command: Command) -> Action:
    async def run(queue: Queue) -> str:
        changed = await amend(queue, job, command)
        return f"{changed.id} is due again: {command_line(changed.command)}"

    return Action(cli("retry", job.id, "--command", command_text(command)), run)


def copy(job: Job, command: Command) -> Action:
    async def run(queue: Queue) -> str:
        made = await copy_job(queue, job, command)
        hidden = "; *** stands for values of its environment" if job.env else ""
        hidden += "; it has the standard input too" if job.has_stdin else ""
        return f"enqueued {made.id}, a copy of {job.id}{hidden}"

    words = [
        *("--queue", job.queue, "--priority", str(job.priority)),
        *("--max-retries", str(job.max_retries), "--backoff-base", f"{job.backoff_base:g}"),
        *("--timeout", f"{job.timeout_seconds:g}", "--cwd", job.cwd),
    ]
    words += ["--key", job.key] if job.key is not None else []
    limits = (
        *(("--nice", job.nice), ("--memory-limit", job.memory_limit)),
        *(("--cpu-seconds", job.cpu_seconds), ("--output-limit", job.output_limit)),
    )
    words += [word for option, value in limits if value for word in (option, f"{value:.15g}")]
    words += [word for name in sorted(job.env) for word in ("--env", f"{name}=***")]
    for name, reference in sorted(job.secrets.items()):
        words += ["--secret", f"{name}={reference}"]
    words += ["--stdin", "FILE"] if job.has_stdin else []
    return Action(cli("enqueue", *words, *command_words(command)), run)


def command_words(command: Command) -> list[str]:
    if not isinstance(command, str):
        return ["--", *command]
    if command.startswith(("{", "[", "-")):  # otherwise it would be read as JSON or as an option
        return [json.dumps({"command": command})]
    return [command]


def config_set(text: str) -> Action:
    """Change a setting, from ``KEY VALUE``. InvalidInput or NotFound when it is wrong."""
    key, _, value = text.strip().partition(" ")
    name = canonical(key)
    if not value.strip():
        raise InvalidInput(f"{name}: give a value too", "write KEY VALUE")
    parse_value(name, value.strip())

    async def run(queue: Queue) -> str:
        setting = await queue.config_set(name, value.strip())
        return f"{name} is {show_value(setting.value)} ({setting.source})"

    return Action(cli("config", "set", name, value.strip()), run)


def config_unset(text: str) -> Action:
    """Forget a stored setting. NotFound when there is none of that name."""
    name = canonical(text)

    async def run(queue: Queue) -> str:
        setting = await queue.config_unset(name)
        return f"{name} is {show_value(setting.value)} ({setting.source})"

    return Action(cli("config", "unset", name), run)
