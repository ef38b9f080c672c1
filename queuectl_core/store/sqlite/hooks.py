"""Hooks: deliveries of what has happened, in the transaction in which it happened.

Triggers write what happens, and some hook asks for, into ``hook_marks``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...domain import hooks as rules
from ...domain.claims import AttemptResult
from ...domain.errors import Conflict
from ...domain.events import EventKind
from ...domain.hooks import Entry, Hook
from ...domain.model import Job, JobSpec
from ..hooks import (
    GROUPS,
    MARKS,
    Deliveries,
    delivery_ids,
    entry_params,
    hook_params,
    no_hook,
    readable_events,
    readable_hooks,
    to_entry,
    to_hook,
)
from ..protocol import Changed, JobAction, Said
from ..rows import spec_params
from . import admission
from .connection import Driver
from .events import record
from .jobs import enqueue, ids_taken
from .queries import SQL, reading

_to_hook = reading(to_hook)


def all_hooks(conn: Driver) -> list[Hook]:
    """All hooks, by name."""
    return [_to_hook(row) for row in conn.execute(SQL["hooks"])]


# -- changing hooks -------------------------------------------------------------------


def add_hook(conn: Driver, hook: Hook) -> None:
    if conn.execute(SQL["hook_by_name"], {"name": hook.name}).fetchone():
        raise Conflict(f"hook '{hook.name}' is there already", "choose another name, or remove it")
    conn.execute(SQL["hook_entries_gone"], {"hook": hook.name})
    _put(conn, hook)
    _tell(conn, hook.name, "added", hook.created_at)


def change_hook(
    conn: Driver, name: str, changes: Mapping[str, Any], action: str, now: float
) -> Hook:
    row = conn.execute(SQL["hook_by_name"], {"name": name}).fetchone()
    if row is None:
        raise no_hook(name)
    before = _to_hook(row)
    after = rules.changed(before, changes, now)
    if after is not before:
        _put(conn, after)
        _tell(conn, name, action, now, reason=changes.get("paused_reason"))
    return after


def remove_hook(conn: Driver, name: str, now: float) -> None:
    if not conn.execute(SQL["hook_remove"], {"name": name}).rowcount:
        raise no_hook(name)
    conn.execute(SQL["hook_entries_gone"], {"hook": name})
    _watch(conn)
    _tell(conn, name, "removed", now)


def receive(
    conn: Driver, hooks: Sequence[Hook], entries: Sequence[tuple[str, float, Entry]]
) -> None:
    """Add the hooks of a store that is copied into this one, and what waits for their digests."""
    conn.executemany(SQL["hook_put"], map(hook_params, hooks))
    conn.executemany(
        SQL["hook_entry"], [entry_params(name, entry, at) for name, at, entry in entries]
    )
    _watch(conn)


def _put(conn: Driver, hook: Hook) -> None:
    conn.execute(SQL["hook_put"], hook_params(hook))
    _watch(conn)


def _watch(conn: Driver) -> None:
    """Write anew what must be marked."""
    conn.execute(SQL["hook_watches_gone"])
    conn.execute(SQL["hook_watch"], {"kinds": json.dumps(rules.watched(all_hooks(conn)))})


def _tell(
    conn: Driver,
    name: str,
    action: str,
    now: float,
    *,
    reason: str | None = None,
    via: str | None = None,
) -> None:
    detail = {"action": action} | ({"reason": reason} if reason else {})
    record(conn, EventKind.HOOK_CHANGED, now, name=name, detail=detail, via=via)


def pause_gone(conn: Driver, results: Iterable[AttemptResult], now: float) -> None:
    """Pause the hooks whose URL answered to one of these attempts that nobody wants more."""
    seqs = [one.seq for one in results if rules.may_be_unwanted(one.queue, one.attempt.exit_code)]
    if not seqs:
        return
    rows = conn.execute(SQL["hooks_gone"], {"seqs": json.dumps(seqs)}).fetchall()
    for name, gone in rules.gone_by_hook(rows).items():
        row = conn.execute(SQL["hook_by_name"], {"name": name}).fetchone()
        hook = None if row is None else _to_hook(row)
        if hook and hook.paused_at is None and any(one.means(hook) for one in gone):
            paused = rules.paused_as_gone(hook, now)
            _put(conn, paused)
            _tell(conn, name, "paused", now, reason=paused.paused_reason, via="hook")


# -- verbs after which there may be something to deliver --------------------------------


def enqueue_children(conn: Driver, specs: Sequence[JobSpec], now: float) -> list[Job]:
    """Enqueue jobs with parents. If a parent has failed for good, they are cancelled at once."""
    made = enqueue(conn, specs, now)
    deliver_all(conn, now)
    return made


def act(
    conn: Driver,
    action: JobAction,
    params: Mapping[str, Any],
    check: Callable[[list[tuple[int, int]]], None] | None,
    said: Said,
) -> Changed:
    changed = admission.act(conn, action, params, check, said)
    deliver_all(conn, params["now"])
    return changed


def judge_some(conn: Driver, now: float) -> bool:
    more = admission.judge_some(conn, now)
    deliver_all(conn, now)
    return more


def deliver_all(conn: Driver, now: float) -> None:
    """Make deliveries of all that this verb made happen."""
    if conn.execute(SQL["hooks_marked"]).fetchone()[0]:
        while deliver(conn, now).more:
            pass


# -- deliveries -----------------------------------------------------------------------


def deliver(conn: Driver, now: float, via: str | None = None) -> Deliveries:
    """Make deliveries of what has happened. ``via``: by which front end it happened; None: as the
    store was opened."""
    marks = sorted(map(tuple, conn.execute(SQL["hook_marks_taken"], {"limit": MARKS})))
    if not marks:
        return Deliveries()
    signature = conn.signature
    rows = conn.execute(SQL["hooks"])
    hooks = [hook for hook in readable_hooks(rows) if hook.paused_at is None]
    jobs = json.dumps([job for _, _, job, _ in marks if job is not None])
    rows = conn.execute(SQL["hook_facts"], {"seqs": jobs, "bytes": rules.OUTPUT_LIMIT})
    facts = {row["seq"]: row for row in rows}
    numbers = json.dumps([event for _, _, _, event in marks if event is not None])
    stored = readable_events(conn.execute(SQL["hook_events"], {"seqs": numbers}))
    origin = rules.Origin(now, signature.actor, via or signature.via)
    found = rules.happened(marks, facts, stored, origin)
    for queue in rules.maybe_empty(hooks, marks, facts):
        if not conn.execute(SQL["queue_unended"], {"name": queue}).fetchone()[0]:
            found.append(rules.empty_event(queue, origin))
    planned = rules.plan(hooks, found)
    conn.executemany(
        SQL["hook_entry"], [entry_params(name, entry, now) for name, entry in planned.entries]
    )
    wakes = _insert(conn, planned.bodies, now)
    return Deliveries(wakes=wakes, jobs=bool(planned.bodies), more=len(marks) == MARKS)


def _insert(conn: Driver, bodies: Sequence[tuple[Hook, str]], now: float) -> bool:
    """Enqueue deliveries. Returns whether workers must be woken: none waited before."""
    if not bodies:
        return False
    ready = conn.execute(SQL["queue_ready"], {"queue": rules.QUEUE}).fetchone()[0]
    for hook, texts in rules.by_hook(bodies):
        ids = delivery_ids(hook, len(texts))
        while ids_taken(conn, ids):
            ids = delivery_ids(hook, len(texts))
        params = spec_params(rules.delivery(hook, "", now), now)
        conn.execute(SQL["insert_deliveries"], params | {"ids": json.dumps(ids)})
        inputs = json.dumps(dict(zip(ids, texts, strict=True)))
        conn.execute(SQL["insert_delivery_inputs"], {"inputs": inputs})
    return not ready


def deliver_due(conn: Driver, now: float) -> bool:
    """Make deliveries of what was left, and the digests that are due. Returns whether more is
    left."""
    left = deliver(conn, now, "hook").more
    bodies = []
    for hook in readable_hooks(conn.execute(SQL["hooks_due"], {"now": now}).fetchall()):
        params = {"hook": hook.name, "limit": GROUPS}
        rows = conn.execute(SQL["hook_entries_taken"], params).fetchall()
        left = left or len(rows) == GROUPS
        entries = [to_entry(row) for row in sorted(rows, key=lambda row: row["seq"])]
        bodies.append((hook, rules.digest_body(hook.name, entries, now, conn.signature.actor)))
    _insert(conn, bodies, now)
    conn.execute(SQL["hook_entries_orphaned"])
    return left
