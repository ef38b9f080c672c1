"""Why a job does not run, and what it waits for: facts are read, and the rules of
:mod:`queuectl_core.domain.admission` are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..domain.admission import (
    MOST_AHEAD,
    Facts,
    QueueFacts,
    Reason,
    Tree,
    Why,
    blockers,
    first_reason,
    reasons,
)
from ..domain.lifecycle import NOT_STARTED
from ..domain.model import Dependency, Job, QueueSettings, State, SupervisorRow, Worker
from ..system.clocks import monotonic
from ..system.host import is_gone

if TYPE_CHECKING:
    from ..store.protocol import Store


async def why(store: Store, job: Job, now: float) -> Why:
    """See :meth:`queuectl_core.queue.Queue.why`."""
    workers = await store.workers()
    if job.state not in NOT_STARTED:
        facts = Facts(now, QueueFacts(QueueSettings(job.queue)))
        facts = facts._replace(
            silent_until=_silent_until(store, job, await store.supervisors(), now)
        )
        return Why(job, tuple(blockers(job, facts)))
    [known] = (await _facts(store, [job.queue], workers, now)).values()
    facts = Facts(
        now,
        known,
        key_running=await _key_running(store, job),
        parents=tuple(await store.dependencies([job.seq], of="child")) if job.parents else (),
        ahead=await store.ahead(job, MOST_AHEAD),
    )
    return Why(job, tuple(blockers(job, facts)))


async def first_reasons(store: Store, jobs: Sequence[Job], now: float) -> dict[int, Reason]:
    """See :meth:`queuectl_core.queue.Queue.waits`."""
    waiting = [job for job in jobs if job.state in NOT_STARTED]
    running = [job for job in jobs if job.state is State.PROCESSING]
    found: dict[int, Reason] = {}
    if waiting:
        names = sorted({job.queue for job in waiting})
        known = await _facts(store, names, await store.workers(), now)
        pairs = sorted({(job.queue, job.key) for job in waiting if job.key is not None})
        keys = await store.key_running(pairs) if pairs else {}
        for job in waiting:
            taken = tuple(keys.get((job.queue, job.key or ""), ()))
            all_reasons = reasons(job, Facts(now, known[job.queue], taken))
            if all_reasons:
                found[job.seq] = all_reasons[0]
    if running:
        supervisors = await store.supervisors()
        for job in running:
            if _silent_until(store, job, supervisors, now) is not None:
                found[job.seq] = Reason.UNCERTAIN
    return found


async def summary(store: Store, now: float) -> dict[Reason | None, int]:
    """See :meth:`queuectl_core.queue.Queue.wait_summary`."""
    groups = await store.wait_groups(now)
    names = sorted({group.queue for group in groups})
    known = await _facts(store, names, await store.workers(), now)
    found: Counter[Reason | None] = Counter()
    for group in groups:
        found[first_reason(group, known[group.queue], now)] += group.number
    order: list[Reason | None] = [*Reason, None]
    return {reason: found[reason] for reason in order if found[reason]}


async def tree(store: Store, job: Job, limit: int) -> Tree:
    """See :meth:`queuectl_core.queue.Queue.tree`."""
    parents, all_parents = await _around(store, job, "child", limit)
    children, all_children = await _around(store, job, "parent", limit)
    return Tree(tuple(parents), tuple(children), all_parents and all_children)


async def _around(store: Store, job: Job, of: str, limit: int) -> tuple[list[Dependency], bool]:
    found: list[Dependency] = []
    seen, level = {job.seq}, [job.seq]
    while level:
        rows = await store.dependencies(level, of=of)
        found += rows
        if len(found) > limit:
            return found[:limit], False
        following = (one.parent_seq if of == "child" else one.child_seq for one in rows)
        level = [seq for seq in dict.fromkeys(following) if seq not in seen]
        seen.update(level)
    return found, True


async def _key_running(store: Store, job: Job) -> tuple[str, ...]:
    if job.key is None:
        return ()
    pair = (job.queue, job.key)
    return tuple((await store.key_running([pair]))[pair])


async def _facts(
    store: Store,
    names: Sequence[str],
    workers: Iterable[tuple[Worker, SupervisorRow]],
    now: float,
) -> dict[str, QueueFacts]:
    """What decides about these queues, with the workers and hosts that serve them."""
    known = await store.queue_facts(names, now)
    here, mono = store.host_identity(), monotonic()
    live = [
        (worker, row)
        for worker, row in workers
        if worker.state != "stopping" and not is_gone(row, now, mono, here)
    ]
    found = {}
    for name in names:
        serving = [(one, row) for one, row in live if one.serves(name)]
        facts = known[name]
        hosts = {row.host: facts.hosts.get(row.host, 0) for _, row in serving}
        found[name] = facts._replace(
            hosts=hosts,
            workers=len(serving),
            idle=sum(one.state in ("idle", "starting") for one, _ in serving),
        )
    return found


def _silent_until(
    store: Store, job: Job, supervisors: Sequence[SupervisorRow], now: float
) -> float | None:
    """When the lease of the job's owner ends, if the owner is gone or silent; None: it is alive."""
    if job.state is not State.PROCESSING:
        return None
    mono, here = monotonic(), store.host_identity()
    for row in supervisors:
        if row.id == job.owner:
            return row.lease_until if is_gone(row, now, mono, here) else None
    return now
