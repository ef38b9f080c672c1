"""A store with something of everything, at one moment, for the application in this process."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from queuectl_core import __version__
from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Job, Outcome, SupervisorRow
from queuectl_core.operations import doctor
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.operations.doctor import Finding
from queuectl_core.queue import Queue

from ..support import NOW, ending, local_zone
from .inside import Inside, inside

SUPERVISOR = SupervisorRow(
    id="w3kd", host="alpha", host_key="another-boot:1", pid=4242, pid_start=1.0, detached=True,
    heartbeat_at=NOW, lease_until=NOW + 1e9, lease_mono=0.0,
)  # fmt: skip


async def fill(url: str, env: dict[str, str]) -> None:
    """Jobs in every state, workers, queues with limits, schedules, hooks, events."""
    async with Queue.open(url, env=env, clock=lambda: NOW - 900, via="cli") as queue:
        queue.cwd = "/srv/app"
        await queue.store.register(SUPERVISOR, [("w3kd-1", ()), ("w3kd-2", ("mail",))], NOW - 5)
        for name, error in (("sync-1", 12), ("sync-2", 12), ("resize", 1), ("done", 0)):
            job = {"id": name, "command": f"run {name}", "max_retries": 1, "key": name}
            await _run(queue, job, NOW - 800, error)
        await _run(queue, {"id": "flaky", "command": ["./import", "a b"]}, NOW - 40, 75)
        await queue.enqueue([{"id": "report", "command": "make report", "priority": 5}])
        [report] = await _claim(queue, NOW - 75)
        path = log_path(queue.directory, report.seq, report.runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"page {n} of <12>\n" for n in range(1, 13)))
        await queue.store.sample([("w3kd-1", 4250, 97.0, 412 << 20)])
        await queue.enqueue(
            [
                {"id": "later", "command": "cleanup", "run_at": NOW + 7200, "env": {"A": "b"}},
                {"id": "child", "command": "true", "after": ["later"], "key": "k"},
                {"id": "grandchild", "command": "true", "after_any": ["child"]},
                {"id": "held", "command": "true", "hold": True, "queue": "mail", "unique": "u"},
                {"id": "letter", "command": "send", "queue": "mail"},
                {"id": "typo", "command": "gti pull", "queue": "odd queue".replace(" ", ".")},
            ]
        )
        await queue.cancel([await queue.find("typo")])
        await queue.set_queue("mail", {"limit": 2, "per_key": 1, "rate": "60/1m"})
        await queue.pause_queue("mail", seconds=3600, reason="the server moves")
        job = {"command": ["backup", "all"], "queue": "mail"}
        nightly = {"cron": "30 2 * * *", "tz": "Europe/Berlin", "jitter": 60}
        await queue.add_schedule("nightly", nightly, job)
        await queue.add_schedule("poll", {"every": "5m", "overlap": "skip"}, {"command": "true"})
        await queue.run_schedule("nightly")
        await queue.pause_schedule("poll", "too often")
        url = "https://chat.example.org/secret-part"
        await queue.add_hook("chat", ["dead", "failed"], url=url, cwd="/")
        await queue.add_hook("mail", ["dead"], command=("mail", "ops"), cwd="/", queue="mail")
        await queue.pause_hook("mail", "nobody reads it")


async def _claim(queue: Queue, at: float) -> list[Job]:
    request = ClaimRequest(SUPERVISOR.id, [], [ClaimSlot("w3kd-1")], at)
    return list((await queue.store.settle_and_claim(request)).claimed)


async def _run(queue: Queue, source: dict[str, object], at: float, code: int) -> None:
    await queue.enqueue([source])
    [job] = await _claim(queue, at)
    outcome = Outcome.FAILED if code else Outcome.COMPLETED
    error = f"exit {code}: <no> luck with {job.id}" if code else None
    result = ending(
        job, outcome, now=at + 2, reason=error, exit_code=code, host="alpha", waited=1.0,
        peak_memory=30 << 20, cpu_seconds=1.25,
    )  # fmt: skip
    await queue.store.settle_and_claim(ClaimRequest(SUPERVISOR.id, [result], [], at + 2))


async def _examine(*_: Any) -> list[Finding]:
    return [Finding("store", "ok", "it can be read"), Finding("disk", "warn", "full", "make room")]


@contextmanager
def scene(folder: Path) -> Iterator[tuple[Inside, Inside]]:
    """The application on such a store, and one that only reads. Time stands still."""
    store = folder / "queue.db"
    env = {"HOME": str(folder), "QUEUECTL_HOST": "alpha"}
    asyncio.run(fill(str(store), env))
    with local_zone("UTC"), pytest.MonkeyPatch.context() as patch:
        patch.chdir("/")
        patch.setattr(doctor, "examine", _examine)
        with (
            inside(store, env, clock=lambda: NOW) as made,
            inside(store, env, clock=lambda: NOW, read_only=True) as reading,
        ):
            made.sign_in()
            reading.sign_in()
            yield made, reading


def plain(text: str, app: Inside) -> str:
    """Without what differs between two runs."""
    text = text.replace(f"{pwd.getpwuid(os.getuid()).pw_name}@alpha", "somebody@alpha")
    text = text.replace(app.csrf, "CSRF").replace(__version__, "VERSION")
    run = app.ask("GET", "/api/v1/schedules/nightly").json["last_job"]
    text = text.replace(run, "nightly-run")
    text = re.sub(r"since=\d+\"", 'since=N"', text)
    return re.sub(r'name="key" value="[\w-]{16}"', 'name="key" value="KEY"', text)
