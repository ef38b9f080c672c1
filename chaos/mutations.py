"""Bugs to put in on purpose. A campaign that does not notice them proves nothing.

Each changes the imported code of one process (see ``agent.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from queuectl_core import host
from queuectl_core.store.sqlite.rows import SQL
from queuectl_core.worker import process, recovery
from queuectl_core.worker.journal import Started
from queuectl_core.worker.process import Process, Processes


def no_fencing() -> None:
    """The store takes an ending from whoever sends one."""
    fenced = SQL["finish"]
    head, where, _ = fenced.partition("WHERE seq = :seq AND")
    if not where:
        raise RuntimeError("the fence is not where this mutation looks for it")
    SQL["finish"] = head + "WHERE seq = :seq"


def no_group_kill() -> None:
    """What is left of a job's process group is left running."""

    async def spare(
        self: Processes, group: int | None, strays: Iterable[Process], grace: float
    ) -> None:
        return

    vars(process)["Processes"].end = spare


def no_start_check() -> None:
    """A process is taken for the one that was, whenever it started."""

    def is_process(pid: int, start: float) -> bool:
        return host.process_start(pid) is not None

    def is_started(started: Started) -> bool:
        return host.process_start(started.pid) is not None

    for module in (host, process):
        vars(module)["is_process"] = is_process
    for module in (process, recovery):
        vars(module)["is_started"] = is_started


MUTATIONS: dict[str, Callable[[], None]] = {
    "no-fencing": no_fencing,
    "no-group-kill": no_group_kill,
    "no-start-check": no_start_check,
}
