"""Rows of hooks and of what waits for a digest, for all stores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from ..domain.errors import NotFound
from ..domain.events import Event
from ..domain.hooks import Entry, Hook, delivery_prefix
from ..domain.text import clean_line
from .rows import new_ids, to_event

MARKS = 500
"""How many events one transaction delivers. It decides how long the transaction may take."""

ENTRIES = 1000
"""How many rows that wait for a digest one transaction merges. Fewer are not worth it."""
GROUPS = 5000
"""How many rows of ``hook_entries`` one digest takes. The others go into the next one."""


class Deliveries(NamedTuple):
    """What a transaction has delivered."""

    wakes: bool = False
    """There are deliveries, and no other one waited before, so workers must be woken."""
    jobs: bool = False
    """There are deliveries."""
    more: bool = False
    """More is left to be delivered."""


JOB_FIELDS = frozenset(
    ("command", "env", "cwd", "max_retries", "backoff_base", "timeout_seconds", "priority")
)


def no_hook(name: str) -> NotFound:
    """The error for a hook that is not there."""
    return NotFound(f"no such hook: '{clean_line(name, 60)}'", "see: queuectl hook list")


def to_hook(row: Any) -> Hook:
    """A row of ``hooks``. ValueError if it is damaged."""
    events, job = json.loads(row["events"]), json.loads(row["job"])
    texts = [row["name"], row["url"] or "", row["queue"] or "", row["secret_file"] or ""]
    if not (
        isinstance(events, list)
        and isinstance(job, dict)
        and job.keys() >= JOB_FIELDS
        and isinstance(job["command"], list)
        and job["command"]
        and isinstance(job["env"], dict)
        and all(isinstance(text, str) for text in (*texts, *events, *job["command"]))
    ):
        raise ValueError("a hook is damaged")
    return Hook(
        name=row["name"],
        events=tuple(events),
        queue=row["queue"],
        digest=float(row["digest"]),
        url=row["url"],
        secret_file=row["secret_file"],
        job=job,
        paused_at=row["paused_at"],
        paused_by=row["paused_by"],
        paused_reason=row["paused_reason"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def readable_hooks(rows: Iterable[Any]) -> list[Hook]:
    """The hooks in these rows. One that is damaged is left out, because the results of jobs are
    committed with this."""
    found = []
    for row in rows:
        with suppress(ValueError, TypeError, RecursionError):
            found.append(to_hook(row))
    return found


def hook_params(hook: Hook) -> dict[str, Any]:
    """The columns of a row of ``hooks``."""
    values = hook._asdict()
    return values | {"events": json.dumps(hook.events), "job": json.dumps(hook.job)}


def delivery_ids(hook: Hook, count: int) -> list[str]:
    """New ids of deliveries, by which they can be found."""
    prefix = delivery_prefix(hook.name)
    return [f"{prefix}{one}" for one in new_ids(count)]


def readable_events(rows: Iterable[Any]) -> dict[int, Event]:
    """The events in these rows, by their keys. Anybody who can write to the store can write events.
    One that cannot be read is left out, because the results of jobs are committed with this."""
    found = {}
    for row in rows:
        texts = [row[column] or "" for column in ("kind", "actor", "via", "job_id", "name")]
        if not all(isinstance(text, str) for text in texts):
            continue
        try:
            found[row["seq"]] = to_event(row)
        except (ValueError, TypeError, RecursionError):
            continue
    return found


def entry_params(hook: str, entry: Entry, now: float) -> dict[str, Any]:
    """A row of ``hook_entries``."""
    values = entry._asdict()
    values["n"] = values.pop("number")
    return values | {"hook": hook, "at": now, "jobs": json.dumps(entry.jobs)}


def to_entry(row: Any) -> Entry:
    """A row of ``hook_entries``."""
    jobs = tuple(json.loads(row["jobs"]))
    first_at, last_at = row["first_at"], row["last_at"]
    return Entry(row["kind"], row["queue"], row["reason"], row["n"], first_at, last_at, jobs)
