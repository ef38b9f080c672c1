"""What running jobs use right now: CPU and memory of each job's whole process tree."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

Sample = tuple[str, int | None, float | None, int | None]
"""(worker, job pid, CPU percent of one core or None at first, resident bytes)."""


@dataclass(slots=True)
class Sampler:
    """Remembers the last reading of each tree, to say what it used since."""

    _last: dict[int, tuple[float, float]] = field(default_factory=dict)

    def take(self, jobs: Mapping[str, int]) -> list[Sample]:
        """Sample the trees under ``jobs`` (worker -> pid of the job), in one look at the
        process table. Takes some 20 ms: run it in a thread."""
        import psutil

        parents: dict[int, list[int]] = defaultdict(list)
        usage: dict[int, tuple[float, int]] = {}
        attributes = ["ppid", "cpu_times", "memory_info"]
        for process in psutil.process_iter(attributes):
            info = process.info
            parents[info["ppid"] or 0].append(process.pid)
            if info["cpu_times"] and info["memory_info"]:
                cpu = info["cpu_times"].user + info["cpu_times"].system
                usage[process.pid] = (cpu, info["memory_info"].rss)
        now = time.monotonic()
        samples: list[Sample] = []
        fresh: dict[int, tuple[float, float]] = {}
        for worker, pid in jobs.items():
            cpu, memory = _sum_tree(pid, parents, usage)
            percent = None
            if pid in self._last:
                then, before = self._last[pid]
                percent = round(100 * max(0.0, cpu - before) / max(now - then, 0.001), 1)
            fresh[pid] = (now, cpu)
            samples.append((worker, pid, percent, memory))
        self._last = fresh
        return samples


def _sum_tree(
    root: int, parents: Mapping[int, list[int]], usage: Mapping[int, tuple[float, int]]
) -> tuple[float, int]:
    cpu, memory = 0.0, 0
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        used = usage.get(pid, (0.0, 0))
        cpu += used[0]
        memory += used[1]
        waiting.extend(parents.get(pid, ()))
    return cpu, memory
