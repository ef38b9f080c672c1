"""The dashboard: pages over a million jobs beside ten, 50 open overviews, memory.

    python benchmarks/dashboard.py [--jobs 1000000] [--requests 10000] [--rounds 7] [--json]

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import console_seed
import psutil
from harness import QUEUECTL, Scratch, judged, machine, middle, options, progress, report, word

PAGE_SECONDS = 0.1
PAGE_BYTES = 60 * 1024
WATCHERS = 50
WATCHING_CPU = 5.0
"""Percent of one core."""
GROWTH = 1.05
"""Memory after all requests, beside that after a tenth of them."""

REASONS = (
    (7, "exit 7: connection to db-{} refused", "exit 7: connection to db-# refused"),
    (1, "exit 1: no space left on device", "exit 1: no space left on device"),
    (124, "exit 124: gave up after {} s", "exit 124: gave up after # s"),
    (2, "exit 2: bad input in row {}", "exit 2: bad input in row #"),
    (137, "exit 137: killed, memory", "exit 137: killed, memory"),
)


def pages(newest: str) -> dict[str, str]:
    """The pages by name."""
    return {
        "overview": "/",
        "jobs": "/jobs",
        "dead jobs": "/jobs?state=dead",
        "one cause": f"/jobs?state=dead&reason={quote(REASONS[0][2])}",
        "text, found": "/jobs?search=db-7",
        "text, not found": "/jobs?search=nowhere",
        "text and state": "/jobs?state=pending&search=nowhere",
        "queue, not found": "/jobs?queue=nowhere",
        "exit code, not found": "/jobs?exit_code=99",
        "middle": "/jobs?before=5000",
        "job": f"/jobs/{newest}",
        "output": f"/jobs/{newest}/output",
        "dlq": "/dlq",
        "workers": "/workers",
        "enqueue": "/enqueue",
        "stats": "/stats?since=24h",
        "settings": "/settings",
        "api jobs": "/api/v1/jobs?limit=50",
        "api status": "/api/v1/status",
        "api groups": "/api/v1/dlq/groups",
    }


class Dashboard:
    """A dashboard that serves a store, and a browser that has signed in."""

    def __init__(self, store: Path, env: dict[str, str]) -> None:
        command = [*QUEUECTL, "--store", str(store), "dashboard", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r":(\d+)/login\?(token=\S+)", self.process.stdout.readline())
        assert found is not None
        self.port = int(found[1])
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        kind = "application/x-www-form-urlencoded"
        origin = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": kind}
        connection.request("POST", "/login", found[2], origin)
        cookie = connection.getresponse().getheader("set-cookie") or ""
        connection.close()
        self.headers = {"Cookie": cookie.split(";")[0]}
        self.memory = psutil.Process(self.process.pid)

    def get(
        self, path: str, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """An answer with its body, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=self.headers if headers is None else headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    def page(self, path: str) -> tuple[float, int]:
        """(seconds, bytes) of one page; the connection is there already."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", path, headers=self.headers)
        answer = connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status}")
        return took, len(body)

    def watch(self) -> socket.socket:
        """An open overview; what is sent must be read."""
        stream = socket.create_connection(("127.0.0.1", self.port))
        cookie = self.headers["Cookie"]
        stream.sendall(
            f"GET /api/v1/stream?view=overview HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Cookie: {cookie}\r\n\r\n".encode()
        )
        stream.setblocking(False)
        return stream

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = self.memory.cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def with_dashboard(scratch: Scratch, jobs: int, do: Callable[[Dashboard], Any]) -> Any:
    store = scratch.folder / f"{jobs}.db"
    if not store.exists():
        progress(f"making a store of {jobs:,} jobs")
        console_seed.seed(store, jobs, REASONS, one_in=20)
    dashboard = Dashboard(store, scratch.env)
    try:
        return do(dashboard)
    finally:
        dashboard.close()


def measure_pages(dashboard: Dashboard, newest: str, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, path in pages(newest).items():
        dashboard.page(path)
        times, sizes = zip(*(dashboard.page(path) for _ in range(rounds)), strict=True)
        found[name] = {"seconds": times, "bytes": max(sizes)}
    return found


def measure_watching(dashboard: Dashboard, scratch: Scratch, seconds: float) -> float:
    """Percent of a core for :data:`WATCHERS` overviews while 20 jobs a second end."""
    env = {**scratch.env, "QUEUECTL_STORE": str(scratch.folder / "10.db")}
    worker = subprocess.Popen([*QUEUECTL, "worker", "start", "-q", "--count", "2"], env=env)
    watchers = [dashboard.watch() for _ in range(WATCHERS)]
    try:
        lines = b"".join(
            json.dumps({"command": "true", "run_at": f"+{2 + n / 20}s"}).encode() + b"\n"
            for n in range(int(20 * (seconds + 4)))
        )
        subprocess.run(
            [*QUEUECTL, "enqueue", "-q", "-"], input=lines, env=env, check=True, capture_output=True
        )
        time.sleep(4)
        before, began, got = dashboard.cpu(), time.monotonic(), 0
        while time.monotonic() - began < seconds:
            time.sleep(0.1)
            for watcher in watchers:
                with suppress(BlockingIOError):
                    got += len(watcher.recv(1 << 20))
        used = dashboard.cpu() - before
        if got < WATCHERS * seconds * 100:
            raise SystemExit("the overviews were not updated")
        return used / (time.monotonic() - began) * 100
    finally:
        for watcher in watchers:
            watcher.close()
        worker.terminate()
        worker.wait()


def measure_memory(dashboard: Dashboard, newest: str, requests: int) -> tuple[float, float]:
    """Resident bytes after a tenth of the requests, and after all."""
    paths = list(pages(newest).values())
    paths = [path for path in paths if "nowhere" not in path and "exit_code" not in path]
    early = 0.0
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=60)
    for number in range(requests):
        connection.request("GET", paths[number % len(paths)], headers=dashboard.headers)
        connection.getresponse().read()
        if number == requests // 10:
            early = float(dashboard.memory.memory_info().rss)
    connection.close()
    return early, float(dashboard.memory.memory_info().rss)


def table(found: dict[str, Any]) -> str:
    lines = [f"{'page':<22}{'ms':>8}{'KB':>8}   beside 10 jobs"]
    for name, one in found["pages"].items():
        took, size = one["seconds"], one["bytes"]
        lines.append(
            f"{name:<22}{took['value'] * 1000:>8.1f}{size['value'] / 1024:>8.1f}"
            f"   {one['beside_ten']:.2f}  {word(took)} {word(size)}"
        )
    watching, memory = found["watching"], found["memory"]
    lines.append(
        f"{WATCHERS} open overviews, 20 jobs a second: {watching['value']:.2f} % of a core"
        f" (bar {watching['bar']:g} %) {word(watching)}"
    )
    lines.append(
        f"memory after {found['requests']:,} requests: {memory['value']:.3f} of that after a tenth"
        f" (bar {memory['bar']:g}), {found['megabytes']:.0f} MB {word(memory)}"
    )
    return "\n".join(lines)


def main() -> int:
    parser = options(__doc__, rounds=7)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of watching")
    given = parser.parse_args()
    with Scratch() as scratch:
        few = with_dashboard(scratch, 10, lambda one: measure_pages(one, "job-10", given.rounds))
        newest = f"job-{given.jobs}"
        many = with_dashboard(
            scratch, given.jobs, lambda one: measure_pages(one, newest, given.rounds)
        )
        progress("many requests")
        early, late = with_dashboard(
            scratch, given.jobs, lambda one: measure_memory(one, newest, given.requests)
        )
        progress("open overviews")
        cpu = with_dashboard(scratch, 10, lambda one: measure_watching(one, scratch, given.seconds))
    found = {
        "jobs": given.jobs,
        "requests": given.requests,
        "machine": machine(),
        "pages": {
            name: {
                "seconds": judged(middle(one["seconds"]), at_most=PAGE_SECONDS),
                "bytes": judged(middle([one["bytes"]]), at_most=PAGE_BYTES),
                "beside_ten": middle(one["seconds"])["value"]
                / middle(few[name]["seconds"])["value"],
            }
            for name, one in many.items()
        },
        "watching": judged(middle([cpu]), at_most=WATCHING_CPU),
        "memory": judged(middle([late / early]), at_most=GROWTH),
        "megabytes": late / (1 << 20),
    }
    return report(found, given.json, table)


if __name__ == "__main__":
    os.environ.pop("QUEUECTL_STORE", None)
    sys.exit(main())
