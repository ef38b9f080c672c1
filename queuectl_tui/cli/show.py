"""``queuectl show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.model import Attempt, Job
from queuectl_core.domain.text import clean_line

from ..presentation.attempts import ATTEMPT_COLUMNS
from ..presentation.columns import table
from .declare import argument, option, verb
from .jobs import complete_id
from .output import View, line_of, styled
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.domain.admission import Tree
    from queuectl_core.queue import Queue

ATTEMPTS: View[Attempt] = View(lambda attempt, now: attempt.to_json(), ATTEMPT_COLUMNS)


@verb(
    "show",
    examples=("queuectl show job1", "queuectl show job1 --tree", "queuectl show job1 --json"),
)
@argument("ref", metavar="ID", complete=complete_id)
@option("--show-env", is_flag=True, about="Print the values of env, not ***.")
@option("--tree", is_flag=True, about="Show what it waits for and what waits for it instead.")
def show(session: Session, ref: str, show_env: bool, tree: bool) -> None:
    """Show everything about one job: its fields and every attempt. Values of env may be secrets:
    they are printed as *** unless asked for.

    With --tree: the jobs that it waits for, directly or through others, and those that wait for it,
    with their states.

    With --json: the job's object as in list, with its attempts as "history"; with --tree the
    dependencies as "tree", too.
    """

    async def act(queue: Queue) -> tuple[Job, list[Attempt], Tree | None]:
        [job] = await queue.with_texts([await queue.find(ref)])
        around = await queue.tree(job) if tree else None
        return job, [] if tree and not session.json else await queue.attempts(job), around

    job, attempts, around = session.run(act, read_only=True)
    out = session.out
    document = job.to_json(show_env=show_env)
    if session.json:
        document["history"] = [attempt.to_json() for attempt in attempts]
        if around is not None:
            from ..presentation.tree import tree_json

            document["tree"] = tree_json(around)
        out.json(document)
        return
    if around is not None:
        _tree(session, job, around)
        return
    if out.terminal:
        _pretty(session, job if show_env else job._replace(env=job.masked_env))
    else:
        out.pairs([(name, _plain(value)) for name, value in document.items()])
    if attempts:
        out.line()
        session.show_all(ATTEMPTS, attempts)


def _tree(session: Session, job: Job, around: Tree) -> None:
    from ..presentation.tree import tree_lines

    lines = tree_lines(job, around)
    if session.out.terminal:
        session.out.render(*map(line_of, lines))
    else:
        for cells in lines:
            session.out.line("".join(text for text, _ in cells))


def _plain(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return clean_line(value if isinstance(value, str) else "" if value is None else text)


def _pretty(session: Session, job: Job) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..presentation.jobs import JOB_COLUMNS

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for column in table(JOB_COLUMNS, "show"):
        text, role = column.cell(job, session.clock())
        if text:
            made.add_row(Text(column.name), styled((text, role)))
    session.out.render(made)
