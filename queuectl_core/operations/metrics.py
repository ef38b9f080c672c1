"""``metrics``: the numbers for monitoring, read from a store without looking at its jobs one by
one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..domain import lifecycle
from ..domain.errors import InvalidInput, QueueError
from ..domain.metrics import (
    OTHER,
    Metric,
    attempt_metrics,
    build_metric,
    labeller,
    queue_metrics,
    schedule_metrics,
    worker_metric,
)
from ..domain.text import clean_line
from ..system.host import current_directory
from .maintenance import cannot_write, draft_beside, sync

if TYPE_CHECKING:
    from ..queue import Queue

MODE = 0o644
"""node_exporter runs as a user of its own, and must read the file. It holds only numbers and the
names of queues and hosts."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Format = Callable[[Sequence[Metric]], bytes]


def text_format() -> Format:
    """What writes the text format. QueueError if its library is not installed."""
    try:
        from .exposition import exposition
    except ImportError as error:
        raise QueueError(
            f"metrics need the package {error.name}",
            "in the clone of queuectl, run: make, or: pip install '.[metrics]'",
        ) from None
    return exposition


async def read_metrics(queue: Queue) -> list[Metric]:
    """All metrics of a queue. At most :data:`..domain.metrics.MOST_LABELS` queues are asked for
    their oldest job; for the others together, it is the oldest job of all."""
    store, now = queue.store, queue.clock()
    counts, settings, workers = await store.counts(), await store.queues(), await queue.workers()
    served = {name for worker in workers if worker.state != "lost" for name in worker.queues}
    whole = await store.totals()
    names = {name for _, name in counts} | {one.name for one in settings} | served
    label = labeller(names)
    waiting = {name for state, name in counts if state in lifecycle.WAITING}
    oldest: dict[str, float | None] = {label(name): None for name in names}
    others = {name for name in waiting if label(name) == OTHER != name}
    for name in waiting - others:
        oldest[label(name)] = await store.oldest_due_of(name, now)
    if others:
        oldest[OTHER] = await store.oldest_due(now)
    return [
        build_metric(__version__),
        *queue_metrics(counts, settings, oldest, now, label),
        worker_metric(workers),
        *schedule_metrics(await store.schedules()),
        *attempt_metrics(whole, names),
    ]


async def write_metrics(queue: Queue, name: str, as_text: Format) -> tuple[Path, int]:
    """Replace the file ``name`` by the metrics in one step, so that nobody reads half of it.
    Returns its path and size in bytes.

    InvalidInput if it cannot be written. If anything fails, the file is as it was.
    """
    target = _named_file(name)
    text = as_text(await read_metrics(queue))
    try:
        _check_target(queue, target)
        with draft_beside(target) as draft:
            draft.write_bytes(text)
            draft.chmod(MODE)  # whatever the umask is
            sync(draft)  # otherwise it may be empty after a power failure
            draft.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from None
    return target, len(text)


def _named_file(name: str) -> Path:
    if not name or "\0" in name:
        raise InvalidInput("--textfile: the name is empty", "give a file")
    if not os.path.isabs(os.path.expanduser(name)) and not current_directory():
        raise InvalidInput("the current directory is gone", "give the full path of the file")
    return Path(os.path.abspath(os.path.expanduser(name)))


def _check_target(queue: Queue, target: Path) -> None:
    shown = clean_line(str(target))
    if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
        # Otherwise root could replace /dev/null.
        raise InvalidInput(f"{shown} is not a file", "give a file")
    if target.exists() and any(
        own.exists() and target.samefile(own) for own in queue.store.files()
    ):
        raise InvalidInput(f"{shown} is part of the store itself", "give another name")
