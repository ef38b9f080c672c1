"""``queuectl show``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.model import Attempt, Job
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time
from queuectl_core.queue import outcome_word

from .declare import argument, option, verb
from .jobs import STYLES, ago, command_text, complete_id, number
from .output import Column, View
from .session import Session, queue_time

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb("show", examples=("queuectl show job1", "queuectl show job1 --json"))
@argument("ref", metavar="ID", complete=complete_id)
@option("--show-env", is_flag=True, about="Print the values of env, not ***.")
def show(session: Session, ref: str, show_env: bool) -> None:
    """Show everything about one job: its fields and every attempt. Values of env may be secrets:
    they are printed as *** unless asked for.

    With --json: the job's object as in list, with its attempts as "history".
    """

    async def act(queue: Queue) -> tuple[Job, list[Attempt]]:
        job = await queue.find(ref)
        return job, await queue.attempts(job)

    job, attempts = session.run(act, read_only=True)
    out = session.out
    document = job.to_json(show_env=show_env)
    if session.json:
        out.json(document | {"history": [attempt.to_json() for attempt in attempts]})
        return
    if out.terminal:
        _pretty(session, job, job.env if show_env else job.masked_env)
    else:
        out.pairs([(name, _plain(value)) for name, value in document.items()])
    if attempts:
        out.line()
        with out.listing(ATTEMPTS, json=False, header=not session.quiet) as listing:
            for attempt in attempts:
                listing.add(attempt)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean_line(value)
    return clean_line(json.dumps(value, ensure_ascii=False))


def _pretty(session: Session, job: Job, env: Mapping[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    now = queue_time()

    def moment(when: float | None) -> str:
        if when is None:
            return ""
        away = ago(when, now)
        return f"{format_time(when)}  ({away if away.startswith('in ') else f'{away} ago'})"

    rows: list[tuple[str, str, str]] = [
        ("id", clean_line(job.id), "bold"),
        ("state", job.state.value, STYLES[job.state]),
        ("command", command_text(job.command), ""),
        ("last error", clean_line(job.last_error or ""), "red"),
        ("exit code", number(job.exit_code), ""),
        ("attempts", f"{job.attempts} of {max(1, job.max_retries)}", ""),
        ("crashes", str(job.crashes) if job.crashes else "", "red"),
        ("backoff base", f"{job.backoff_base:g}", ""),
        ("priority", str(job.priority), ""),
        ("queue", clean_line(job.queue), ""),
        ("timeout", format_duration(job.timeout_seconds) if job.timeout_seconds else "none", ""),
        ("cwd", clean_line(job.cwd), ""),
        ("env", " ".join(clean_line(f"{k}={v}") for k, v in env.items()), ""),
        ("limits", _limits(job), ""),
        ("worker", clean_line(job.worker or ""), ""),
        ("created", moment(job.created_at), ""),
        ("due", moment(job.run_at), ""),
        ("started", moment(job.started_at), ""),
        ("finished", moment(job.finished_at), ""),
        ("updated", moment(job.updated_at), ""),
    ]
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value, style in rows:
        if value:
            made.add_row(Text(name), Text(value, style))
    session.out.render(made)


def _limits(job: Job) -> str:
    found = (
        (job.nice, f"nice {job.nice}"),
        (job.memory_limit, f"memory {format_bytes(job.memory_limit)}"),
        (job.cpu_seconds, f"CPU {format_duration(job.cpu_seconds)}"),
        (job.output_limit, f"output {format_bytes(job.output_limit)}"),
    )
    return ", ".join(text for limit, text in found if limit)


def _ran(attempt: Attempt) -> float:
    end = queue_time() if attempt.finished_at is None else attempt.finished_at
    return max(0.0, end - attempt.started_at)


def _cells(attempt: Attempt) -> list[str]:
    return [
        str(attempt.number),
        outcome_word(attempt),
        number(attempt.exit_code),
        number(attempt.signal),
        format_time(attempt.started_at) or "",
        f"{_ran(attempt):.3f}",
        number(attempt.cpu_seconds),
        number(attempt.peak_memory),
        str(attempt.output_bytes),
        clean_line(attempt.worker or ""),
        clean_line(attempt.host or ""),
        clean_line(attempt.reason or ""),
    ]


def _styled(attempt: Attempt) -> list[tuple[str, str]]:
    word = outcome_word(attempt)
    cpu, memory = attempt.cpu_seconds, attempt.peak_memory
    return [
        (str(attempt.number), "bold"),
        (word, {"completed": "green", "running": "yellow"}.get(word, "red")),
        (number(attempt.exit_code), ""),
        (format_time(attempt.started_at) or "", "dim"),
        (format_duration(_ran(attempt)), ""),
        ("" if cpu is None else format_duration(cpu), ""),
        ("" if memory is None else format_bytes(memory), ""),
        (format_bytes(attempt.output_bytes), ""),
        (clean_line(attempt.worker or "", 30), "dim"),
        (clean_line(attempt.reason or "", 200), "red"),
    ]


ATTEMPTS: View[Attempt] = View(
    Attempt.to_json,
    (
        "ATTEMPT",
        "OUTCOME",
        "EXIT_CODE",
        "SIGNAL",
        "STARTED_AT",
        "SECONDS",
        "CPU_SECONDS",
        "PEAK_MEMORY",
        "OUTPUT_BYTES",
        "WORKER",
        "HOST",
        "REASON",
    ),
    _cells,
    (
        Column("TRY", right=True),
        Column("OUTCOME"),
        Column("EXIT", right=True),
        Column("STARTED", room=70),
        Column("TOOK", right=True),
        Column("CPU", right=True, room=100),
        Column("PEAK", right=True, room=100),
        Column("OUTPUT", right=True, room=90),
        Column("WORKER", room=110),
        Column("REASON", flex=1),
    ),
    _styled,
)
