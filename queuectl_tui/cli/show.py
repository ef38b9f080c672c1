"""``queuectl show``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.model import Attempt, Job
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.queue import outcome_word

from ..presentation import attempts as shown
from ..presentation.columns import number
from .declare import argument, option, verb
from .jobs import complete_id
from .output import TerminalColumn, View, styled
from .session import Session

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
        session.show_all(ATTEMPTS, attempts)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean_line(value)
    return clean_line(json.dumps(value, ensure_ascii=False))


def _pretty(session: Session, job: Job, env: Mapping[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..presentation.jobs import all_fields

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value, role in all_fields(job, env, session.clock()):
        made.add_row(Text(name), styled((value, role)))
    session.out.render(made)


def _cells(attempt: Attempt, now: float) -> list[str]:
    return [
        str(attempt.number),
        outcome_word(attempt),
        number(attempt.exit_code),
        number(attempt.signal),
        format_time(attempt.started_at) or "",
        f"{shown.seconds(attempt, now):.3f}",
        number(attempt.cpu_seconds),
        number(attempt.peak_memory),
        str(attempt.output_bytes),
        clean_line(attempt.worker or ""),
        clean_line(attempt.host or ""),
        clean_line(attempt.reason or ""),
    ]


ATTEMPTS: View[Attempt] = View(
    lambda attempt, now: attempt.to_json(),
    "ATTEMPT OUTCOME EXIT_CODE SIGNAL STARTED_AT SECONDS CPU_SECONDS PEAK_MEMORY OUTPUT_BYTES"
    " WORKER HOST REASON",
    _cells,
    (
        TerminalColumn(shown.TRY),
        TerminalColumn(shown.OUTCOME),
        TerminalColumn(shown.EXIT_CODE),
        TerminalColumn(shown.STARTED_AT, room=70),
        TerminalColumn(shown.TOOK_EXACT),
        TerminalColumn(shown.CPU, room=100),
        TerminalColumn(shown.PEAK, room=100),
        TerminalColumn(shown.OUTPUT, room=90),
        TerminalColumn(shown.WORKER, limit=30, room=110),
        TerminalColumn(shown.REASON, flex=1),
    ),
)
