"""Why a job does not run, and the jobs around it, for the page of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from queuectl_core.domain.admission import Blocker, Reason, Tree, Why
from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_line
from queuectl_tui.presentation.columns import STATE_ROLES, Column, TableColumn
from queuectl_tui.presentation.columns import table as column_table
from queuectl_tui.presentation.format import clock_time, exact_age
from queuectl_tui.presentation.jobs import short_why
from queuectl_tui.presentation.tree import Node, child_nodes, parent_nodes
from queuectl_tui.presentation.why import blocker_command, headline, reason_role

from .links import job_link, queue_link

OF_QUEUE = (Reason.QUEUE_PAUSED, Reason.QUEUE_LIMIT, Reason.HOST_LIMIT, Reason.RATE_LIMIT)
"""Reasons that the page of the queue can remove."""

DEPENDENCIES = 200
"""Dependencies in each direction that the page shows."""


def with_reasons(
    table: Sequence[TableColumn[Job]], waits: Mapping[int, Reason]
) -> list[TableColumn[Job]]:
    """A table of jobs whose column WHY knows the first reason of each job that waits. ``waits``:
    see ``Queue.waits``."""
    why = Column[Job]("why", "web", lambda job, now: short_why(job, now, waits.get(job.seq)))
    [column] = column_table([why], "web")
    return [column if one.name == "why" else one for one in table]


def why_rows(found: Why, now: float) -> dict[str, Any]:
    """What the page says about why a job does not run."""
    return {
        "headline": headline(found, now),
        "blockers": [_row(found.job, one, now) for one in found.blockers],
    }


def _row(job: Job, blocker: Blocker, now: float) -> dict[str, str]:
    since, until = blocker.since, blocker.until
    times = []
    if since is not None:
        times.append(f"since {clock_time(since, now)} ({exact_age(since, now)} ago)")
    if until is not None:
        times.append(f"until {clock_time(until, now)} ({exact_age(until, now)})")
    link = what = ""
    if blocker.reason in OF_QUEUE:
        link, what = queue_link(job.queue), "the queue"
    elif blocker.reason in (Reason.NO_WORKER, Reason.ALL_BUSY):
        link, what = "/workers", "workers"
    return {
        "reason": blocker.reason.value,
        "role": reason_role(blocker.reason),
        "detail": clean_line(blocker.detail, 600),
        "times": ", ".join(times),
        "command": blocker_command(blocker) or "",
        "link": link,
        "what": what,
    }


def tree_rows(job: Job, tree: Tree) -> dict[str, Any]:
    """The parents and the children of a job, as the lines of two trees."""
    return {
        "parents": _lines(parent_nodes(job, tree)),
        "children": _lines(child_nodes(job, tree)),
        "complete": tree.complete,
    }


def _lines(nodes: Sequence[Node]) -> list[dict[str, str]]:
    known = set(State._value2member_map_)
    return [
        {
            "lead": node.lead,
            "id": node.id,
            "link": job_link(node.id) if node.state in known else "",
            "state": node.state,
            "role": STATE_ROLES.get(node.state, "muted"),
            "note": node.note,
        }
        for node in nodes
    ]


def waiting_children(job: Job, tree: Tree) -> list[str]:
    """The jobs that wait for this one, directly or through others. It is removed only with them."""
    waits = [one for one in tree.children if one.child_state is State.WAITING]
    if not any(one.parent_seq == job.seq for one in waits):
        return []
    return list(dict.fromkeys(one.child for one in waits))
