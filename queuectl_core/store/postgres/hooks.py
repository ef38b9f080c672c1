"""Hooks: deliveries of what has happened, in the transaction in which it happened.

Triggers write what happens, and some hook asks for, into ``hook_marks``. A transaction makes its
deliveries last, because it takes locks for them that others wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from ...domain import hooks as rules
from ...domain.claims import AttemptResult
from ...domain.errors import Conflict
from ...domain.events import EventKind
from ...domain.hooks import Entry, Hook
from ...domain.model import Job, JobSpec
from ..hooks import (
    ENTRIES,
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
from .events import record
from .jobs import KEYS, enqueue
from .session import NEW_JOBS, Session

CHANGING = 0x686F6F6B
"""The advisory lock of those that change hooks."""
DIGESTS = 0x64696765
"""The advisory lock of those that merge and deliver what waits for digests."""
EMPTYING = 0x656D7074
"""With the name of a queue: the advisory lock of those that find out whether it is empty."""


async def all_hooks(session: Session) -> list[Hook]:
    """All hooks, by name."""
    return [to_hook(row) for row in await session.rows("hooks")]


# -- changing hooks -------------------------------------------------------------------


async def add_hook(session: Session, hook: Hook) -> None:
    await session.value("hooks_turn", gate=CHANGING)
    if await session.row("hook_by_name", name=hook.name):
        raise Conflict(f"hook '{hook.name}' is there already", "choose another name, or remove it")
    await session.execute("hook_entries_gone", hook=hook.name)
    await _put(session, hook)
    await _tell(session, hook.name, "added", hook.created_at)


async def change_hook(
    session: Session, name: str, changes: Mapping[str, Any], action: str, now: float
) -> Hook:
    await session.value("hooks_turn", gate=CHANGING)
    row = await session.row("hook_by_name", name=name)
    if row is None:
        raise no_hook(name)
    before = to_hook(row)
    after = rules.changed(before, changes, now)
    if after is not before:
        await _put(session, after)
        await _tell(session, name, action, now, reason=changes.get("paused_reason"))
    return after


async def remove_hook(session: Session, name: str, now: float) -> None:
    await session.value("hooks_turn", gate=CHANGING)
    if not await session.execute("hook_remove", name=name):
        raise no_hook(name)
    await session.execute("hook_entries_gone", hook=name)
    await _watch(session)
    await _tell(session, name, "removed", now)


async def receive(
    session: Session, hooks: Sequence[Hook], entries: Sequence[tuple[str, float, Entry]]
) -> None:
    """Add the hooks of a store that is copied into this one, and what waits for their digests."""
    for hook in hooks:
        await session.execute("hook_put", **hook_params(hook))
    for name, at, entry in entries:
        await _add_entries(session, [(name, entry)], at)
    await _watch(session)


async def _add_entries(session: Session, entries: Sequence[tuple[str, Entry]], at: float) -> None:
    rows = [entry_params(name, entry, at) for name, entry in entries]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    await session.execute("hook_entries_added", **columns | {"at": at})


async def _put(session: Session, hook: Hook) -> None:
    await session.execute("hook_put", **hook_params(hook))
    await _watch(session)


async def _watch(session: Session) -> None:
    """Write anew what must be marked."""
    await session.execute("hook_watches_gone")
    await session.execute("hook_watch", kinds=rules.watched(await all_hooks(session)))


async def _tell(
    session: Session,
    name: str,
    action: str,
    now: float,
    *,
    reason: str | None = None,
    via: str | None = None,
) -> None:
    detail = {"action": action} | ({"reason": reason} if reason else {})
    await record(session, EventKind.HOOK_CHANGED, now, name=name, detail=detail, via=via)


async def pause_gone(session: Session, results: Iterable[AttemptResult], now: float) -> None:
    """Pause the hooks whose URL answered to one of these attempts that nobody wants more."""
    rows = await session.rows("hooks_gone", seqs=[one.seq for one in results])
    by_hook = rules.gone_by_hook(rows)
    if by_hook:
        await session.value("hooks_turn", gate=CHANGING)
    for name, gone in by_hook.items():
        row = await session.row("hook_by_name", name=name)
        hook = None if row is None else to_hook(row)
        if hook and hook.paused_at is None and any(one.means(hook) for one in gone):
            paused = rules.paused_as_gone(hook, now)
            await _put(session, paused)
            await _tell(session, name, "paused", now, reason=paused.paused_reason, via="hook")


# -- verbs after which there may be something to deliver --------------------------------


async def enqueue_children(session: Session, specs: Sequence[JobSpec], now: float) -> list[Job]:
    """Enqueue jobs with parents. If a parent has failed for good, they are cancelled at once."""
    made = await enqueue(session, specs, now)
    await deliver_all(session, now)
    return made


async def act(
    session: Session,
    action: JobAction,
    params: Mapping[str, Any],
    check: Callable[[list[tuple[int, int]]], None] | None,
    said: Said,
) -> Changed:
    changed = await admission.act(session, action, params, check, said)
    await deliver_all(session, params["now"])
    return changed


async def judge_some(session: Session, now: float) -> bool:
    more = await admission.judge_some(session, now)
    await deliver_all(session, now)
    return more


async def deliver_all(session: Session, now: float) -> None:
    """Make deliveries of all that this verb made happen."""
    if await session.value("hooks_marked"):
        while (await deliver(session, now)).more:
            pass


# -- deliveries -----------------------------------------------------------------------


async def deliver(session: Session, now: float, via: str | None = None) -> Deliveries:
    """Make deliveries of what has happened. ``via``: by which front end it happened; None: as the
    store was opened."""
    taken = await session.rows("hook_marks_taken", limit=MARKS, bytes=rules.OUTPUT_LIMIT)
    if not taken:
        return Deliveries()
    marks = [(row["mark"], row["kind"], row["job"], row["event"]) for row in taken]
    rows = await session.rows("hooks_active")
    hooks = readable_hooks(rows)
    facts = {row["seq"]: row for row in taken if row["seq"] is not None}
    numbers = [event for _, _, _, event in marks if event is not None]
    events = await session.rows("hook_events", seqs=numbers) if numbers else []
    stored = readable_events(events)
    signature = session.signature
    origin = rules.Origin(now, signature.actor, via or signature.via)
    found = rules.happened(marks, facts, stored, origin)
    for queue in rules.maybe_empty(hooks, marks, facts):
        if await _is_empty(session, queue):
            found.append(rules.empty_event(queue, origin))
    planned = rules.plan(hooks, found)
    if planned.entries:
        await _add_entries(session, planned.entries, now)
    await _insert(session, planned.bodies, now)
    wakes = bool(planned.bodies) and not rows[0]["ready"]
    return Deliveries(wakes=wakes, jobs=bool(planned.bodies), more=len(marks) == MARKS)


async def _is_empty(session: Session, queue: str) -> bool:
    """Whether all jobs of a queue have ended. Of transactions that end its last jobs at the same
    time, one finds that out: each waits here until the one before is committed."""
    if await session.value("queue_ready", queue=queue):
        return False  # nearly always while there is work
    await session.value("hook_empty_turn", gate=EMPTYING, queue=queue)
    return not await session.value("queue_unended", name=queue)


async def _insert(session: Session, bodies: Sequence[tuple[Hook, str]], now: float) -> None:
    """Enqueue deliveries."""
    for hook, texts in rules.by_hook(bodies):
        params = spec_params(rules.delivery(hook, "", now), now)
        inputs = [text.encode() for text in texts]
        ids = delivery_ids(hook, len(texts))
        made = await session.execute(
            "insert_deliveries", **params, gate=KEYS, ids=ids, inputs=inputs
        )
        if made < len(ids):  # an id is taken, which nearly never happens: all is done again
            raise asyncpg.SerializationError("an id is taken")


async def _merge(session: Session) -> bool:
    """Merge rows that wait for digests, if they are many. Returns whether it has merged some."""
    taken = await session.rows("hook_entries_fresh", limit=ENTRIES)
    by_hook: dict[str, list[Entry]] = {}
    since: dict[str, float] = {}
    for row in sorted(taken, key=lambda row: row["seq"]):
        by_hook.setdefault(row["hook"], []).append(to_entry(row))
        since[row["hook"]] = min(row["at"], since.get(row["hook"], row["at"]))
    rows = [
        entry_params(name, entry, since[name])
        for name, entries in by_hook.items()
        for entry in rules.merged(entries)
    ]
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        await session.execute("hook_entries_merged", **columns)
    return bool(taken)


async def deliver_due(session: Session, now: float) -> bool:
    """Make deliveries of what was left, and the digests that are due. Returns whether more is
    left."""
    session.news = NEW_JOBS
    left = (await deliver(session, now, "hook")).more
    if not await session.value("hook_digests_turn", gate=DIGESTS):
        return left  # somebody else does it
    if await _merge(session):
        return True
    bodies = []
    for hook in readable_hooks(await session.rows("hooks_due", now=now)):
        rows = await session.rows("hook_entries_taken", hook=hook.name, limit=GROUPS)
        left = left or len(rows) == GROUPS
        entries = [to_entry(row) for row in sorted(rows, key=lambda row: row["seq"])]
        if entries:  # nobody else delivered them meanwhile
            actor = session.signature.actor
            bodies.append((hook, rules.digest_body(hook.name, entries, now, actor)))
    await _insert(session, bodies, now)
    await session.execute("hook_entries_orphaned")
    return left
