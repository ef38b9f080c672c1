"""What verbs say on a store with jobs in every state, word by word: in a pipe, at a terminal, as
JSON. The clock stands still. The files in ``snapshots`` are what users see.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Job
from queuectl_core.queue import Queue
from queuectl_core.system.host import hostname
from queuectl_tui.cli.diagnostics import Stderr
from queuectl_tui.cli.main import run
from queuectl_tui.cli.output import Stdout

from .. import snapshots
from ..support import NOW, ending, local_zone, supervisor

FOLDER = Path(__file__).parent / "snapshots"
PIPE, JSON, TERMINAL = "|", "{}", ">"
Say = Callable[..., str]

JOBS: tuple[dict[str, Any], ...] = (
    {"id": "done", "command": "true", "env": {"A": "secret"}, "key": "k"},
    {"id": "bad-1", "command": "false", "max_retries": 1, "queue": "mail"},
    {"id": "bad-2", "command": "exit 2", "max_retries": 1, "queue": "mail"},
    {"id": "tried", "command": "curl x"},
    {"id": "runs", "command": "sleep 9", "priority": 5},
    {"id": "r" * 41, "command": "sleep 9", "priority": 5},
    *({"id": f"wait-{number}", "command": "make all"} for number in range(3)),
    {"id": "later", "command": ["make", "it so"], "run_at": NOW + 3600},
    {"id": "child", "command": "true", "after": "later"},
    {"id": "kept", "command": "true", "hold": True, "queue": "mail"},
    {"id": "stopped", "command": "true"},
)


async def seed(path: Path) -> None:
    """A store with jobs in every state, and two workers on another host."""
    async with Queue.open(str(path), clock=lambda: NOW - 300) as queue:
        queue.cwd = "/srv"
        elsewhere = supervisor(
            "w1", host="beta", host_key="another:1", pid=42, lease_until=NOW + 1e9
        )
        workers = [("w1-1", ()), ("w1-2", ("default",))]
        await queue.store.register(elsewhere, workers, NOW - 5)
        await queue.enqueue(JOBS[:4])

        async def settle(results: list[Any], count: int) -> Any:
            slots = [ClaimSlot(f"w1-{number % 2 + 1}") for number in range(count)]
            request = ClaimRequest("w1", results, slots, NOW - 200)
            return (await queue.store.settle_and_claim(request)).claimed

        done, *failed = await settle([], 4)
        results = [ending(done, now=NOW - 100, tail=b"hello\nworld\n")]
        for number, job in enumerate(failed, 1):
            reason = f"exit {number}: it broke"
            results.append(ending(job, "failed", now=NOW - 90, reason=reason, exit_code=number))  # type: ignore[arg-type]
        await settle(results, 0)
        await queue.enqueue(JOBS[4:])
        await settle([], 2)
        await queue.cancel([await queue.find("stopped")])


async def seed_one(queue: Queue) -> Job:
    """A job ``one`` whose attempt ended, in an empty store."""
    await queue.store.register(supervisor("w1"), [("w1-1", ())], NOW - 5)
    await queue.enqueue([{"id": "one", "command": "true"}])
    first = ClaimRequest("w1", [], [ClaimSlot("w1-1")], NOW - 200)
    [job] = (await queue.store.settle_and_claim(first)).claimed
    await queue.store.settle_and_claim(ClaimRequest("w1", [ending(job)], [], NOW - 100))
    return job


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """``say(PIPE, "list")``: the line, and what a user would see of it. ``typed``: the answer to a
    question. ``/t`` is the directory of the test."""
    asyncio.run(seed(tmp_path / "queue.db"))
    monkeypatch.setenv("QUEUECTL_STORE", str(tmp_path / "queue.db"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir("/")
    opened = Queue.open

    ways: list[str] = []

    def still(*args: Any, **named: Any) -> Any:
        ways[:] = [how for how in ("read_only", "create") if named.get(how)]
        return opened(*args, **({"clock": lambda: NOW} | named))

    monkeypatch.setattr(Queue, "open", still)
    actor = re.compile(rf"[\w.-]+@{re.escape(hostname())}\b")
    host = re.compile(rf"\b{re.escape(hostname())}\b")

    def call(form: str, *words: str, typed: str = "") -> str:
        at_terminal = form == TERMINAL
        monkeypatch.setattr(Stdout, "terminal", property(lambda self: at_terminal))
        monkeypatch.setattr(Stderr, "terminal", property(lambda self: at_terminal))
        stdin = io.StringIO(typed)
        stdin.isatty = lambda: at_terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", stdin)
        capfd.readouterr()
        ways.clear()
        given = [word.replace("/t/", f"{tmp_path}/") for word in words]
        code = run([*given, "--json"] if form == JSON else given)
        out, err = capfd.readouterr()
        err = re.sub(r"\r\x1b\[K(\x1b\[\?7l.*?\x1b\[\?7h)?", "", err)  # what is shown for a moment
        text = f"{form} queuectl {' '.join(words)}  = {code} {' '.join(ways)}\n{out}"
        text += "".join(f"! {line}\n" for line in err.splitlines())
        text = re.sub(r"\x1b\[[\d;]*m", "", text.replace(str(tmp_path), "/t"))
        text = re.sub(r" +$", "", text, flags=re.MULTILINE)
        return host.sub("alpha", actor.sub("eve@alpha", text))

    with local_zone("UTC"):
        yield call


READING = (
    ("list",),
    ("list", "--limit", "2"),
    ("list", "--state", "dead,failed", "--queue", "mail,default"),
    ("list", "--queue", "mial"),
    ("list", "--search", "nothing"),
    ("show", "done"),
    ("show", "bad-1", "--show-env"),
    ("show", "child", "--tree"),
    ("show", "nobody"),
    ("why", "later"),
    ("why", "child"),
    ("why", "runs"),
    ("why", "done"),
    ("status",),
    ("status", "--why"),
    ("stats",),
    ("stats", "--since", "1s"),
    ("dlq", "list"),
    ("dlq", "list", "--group"),
    ("dlq", "list", "--reason", "it broke"),
    ("dlq", "list", "--reason", "nothing like it"),
    ("worker", "list"),
    ("queue", "list"),
    ("queue", "show", "mail"),
    ("events", "--limit", "3"),
    ("events", "bad-1"),
    ("schedule", "list"),
    ("hook", "list"),
    ("config", "list"),
    ("config", "get", "timeout"),
    ("logs", "done"),
    ("logs", "done", "--follow"),
    ("logs", "wait-0"),
    ("logs", "bad-2", "--attempt", "2"),
    ("wait", "done", "stopped"),
    ("wait", "done"),
    ("wait", "wait-0", "--timeout", "0"),
    ("wait", "--all", "--timeout", "0"),
)


def test_reading(say: Say) -> None:
    shown = [say(form, *words) for words in READING for form in (PIPE, TERMINAL, JSON)]
    snapshots.same_as(FOLDER / "transcript-reading.txt", "\n".join(shown))


def test_changing(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuectl_tui.cli.cancel.PATIENCE", 0.0)
    monkeypatch.setenv("QUEUECTL_KILL_GRACE", "0")
    shown = [
        say(PIPE, "enqueue", "--id", "new", "true"),
        say(TERMINAL, "enqueue", "--id", "new-2", "--run-at", "2026-09-22T10:00", "true"),
        say(TERMINAL, "-q", "enqueue", "--id", "new-3", "true"),
        say(PIPE, "enqueue", "--id", "new", "true"),
        say(JSON, "enqueue", "--id", "u-1", "--unique", "u", "true"),
        say(PIPE, "enqueue", "--id", "u-2", "--unique", "u", "true"),
        say(PIPE, "enqueue", "--id", "u-2", "--unique", "u", "--on-conflict", "fail", "true"),
        say(PIPE, "enqueue", "--id", "u-2", "--unique", "u", "--on-conflict", "replace", "x"),
        say(PIPE, "enqueue", "--id", "past", "--run-at", "2026-09-01", "--cwd", "/none", "x"),
        say(PIPE, "enqueue", "--id", "late", "--after", "bad-1", "true"),
        say(
            PIPE,
            "enqueue",
            "--id",
            "late-2",
            "--after",
            "bad-1",
            "--on-parent-failure",
            "hold",
            "x",
        ),
        say(PIPE, "enqueue", '{"command": "x", "id": "f", "state": "dead"}', '{"command": 5}'),
        say(PIPE, "enqueue", '{"command": "x", "id": "f", "state": "dead", "attempts": 1}'),
        say(PIPE, "enqueue"),
        say(TERMINAL, "hold", "wait-0", "wait-1"),
        say(JSON, "hold", "--queue", "mail"),
        say(PIPE, "release", "wait-0"),
        say(PIPE, "release", "wait-2"),
        say(TERMINAL, "release", "--all"),
        say(PIPE, "edit", "later", "--priority", "7", "--key", "k"),
        say(JSON, "edit", "later", "--no-key"),
        say(TERMINAL, "edit", "later"),
        say(PIPE, "cancel", "wait-0", "nobody"),
        say(TERMINAL, "cancel", "wait-0"),
        say(PIPE, "cancel", "wait-1", "wait-1"),
        say(PIPE, "cancel", "done"),
        say(PIPE, "cancel", "r" * 41),
        say(JSON, "cancel", "--search", "wait"),
        say(TERMINAL, "cancel", "--queue", "nobody"),
        say(TERMINAL, "retry", "wait-0"),
        say(PIPE, "retry", "wait-2"),
        say(TERMINAL, "retry", "--all", typed="n\n"),
        say(JSON, "retry", "--state", "completed"),
        say(TERMINAL, "retry", "--state", "cancelled"),
        say(PIPE, "retry", "all"),
        say(PIPE, "retry"),
        say(PIPE, "retry", "done", "--all"),
        say(PIPE, "retry", "done", "tried", "--command", "x"),
        say(JSON, "retry", "tried", "--command", "wget x"),
        say(TERMINAL, "dlq", "retry", "bad-1"),
        say(PIPE, "dlq", "retry", "bad-1"),
        say(PIPE, "dlq", "purge", "--all"),
        say(TERMINAL, "dlq", "purge", "--all", typed="n\n"),
        say(TERMINAL, "dlq", "purge", "--all", typed="y\n"),
        say(PIPE, "remove", "later"),
        say(PIPE, "remove", "later", "--cascade"),
        say(PIPE, "remove", "wait-0", "--cascade"),
        say(PIPE, "remove", "--all", "--cascade"),
        say(TERMINAL, "remove", "--all", typed="\n"),
        say(JSON, "remove", "--queue", "mail", "-y"),
        say(PIPE, "remove", "--queue", "mail"),
        say(TERMINAL, "prune", "--older-than", "1h", "--state", "cancelled,completed"),
        say(JSON, "prune", "--older-than", "1s", "--dry-run"),
        say(PIPE, "prune", "--older-than", "5"),
        say(PIPE, "list"),
        say(PIPE, "events"),
    ]
    snapshots.same_as(FOLDER / "transcript-changing.txt", "\n".join(shown))


def test_settings(say: Say) -> None:
    shown = [
        say(PIPE, "config", "set", "max-retries", "5"),
        say(TERMINAL, "config", "set", "timeout=5m"),
        say(TERMINAL, "config", "set", "lease", "20"),
        say(JSON, "config", "set", "shell", "/none=such"),
        say(PIPE, "config", "set", "shell=/none=such"),
        say(PIPE, "config", "set", "timeout"),
        say(PIPE, "config", "set", "keep-completed", "30"),
        say(PIPE, "config", "set", "keep-events", "3599"),
        say(PIPE, "config", "set", "keep-events", "3600"),
        say(PIPE, "config", "set", "keep-completed", "0"),
        say(PIPE, "config", "set", "poll-interval", "5"),
        say(TERMINAL, "config", "unset", "max-retries"),
        say(TERMINAL, "config", "list"),
        say(PIPE, "queue", "set", "mail", "--limit", "2", "--rate", "60/1m"),
        say(TERMINAL, "queue", "set", "mial", "--per-key", "2"),
        say(JSON, "queue", "set", "mail", "--limit", "none"),
        say(PIPE, "queue", "set", "mail"),
        say(TERMINAL, "queue", "pause", "mail", "--for", "90", "--reason", "late"),
        say(TERMINAL, "queue", "list"),
        say(TERMINAL, "status"),
        say(TERMINAL, "queue", "resume", "mail"),
        say(PIPE, "queue", "remove", "mail"),
        say(TERMINAL, "queue", "remove", "mial"),
        say(JSON, "queue", "remove", "nobody"),
        say(PIPE, "schedule", "add", "night", "--cron", "30 2 * * *", "--tz", "UTC", "true"),
        say(TERMINAL, "schedule", "add", "often", "--every", "5m", "--", "echo", "a b"),
        say(JSON, "schedule", "add", "night", "--every", "1h", "true"),
        say(TERMINAL, "schedule", "pause", "night", "--reason", "late"),
        say(TERMINAL, "schedule", "list"),
        say(PIPE, "schedule", "show", "night"),
        say(TERMINAL, "schedule", "show", "often"),
        say(PIPE, "schedule", "edit", "often", "--jitter", "30s", "--missed", "all"),
        say(TERMINAL, "schedule", "resume", "night"),
        say(TERMINAL, "schedule", "remove", "night"),
        say(PIPE, "schedule", "remove", "night"),
        say(PIPE, "hook", "add", "say", "--on", "dead", "--", "printf", "heard"),
        say(TERMINAL, "hook", "add", "web", "--on", "dead,failed", "--url", "http://a/12345678/b"),
        say(TERMINAL, "hook", "list"),
        say(PIPE, "hook", "list", "--show-url"),
        say(TERMINAL, "hook", "show", "web"),
        say(PIPE, "hook", "show", "web", "--show-url"),
        say(TERMINAL, "hook", "pause", "web", "--reason", "late"),
        say(JSON, "hook", "test", "say"),
        say(PIPE, "hook", "test", "say"),
        say(TERMINAL, "hook", "resume", "web"),
        say(PIPE, "hook", "remove", "web"),
        say(PIPE, "hook", "remove", "web"),
        say(PIPE, "events", "--kind", "config,queue,schedule,hook"),
        say(PIPE, "backup", "/t/b.db"),
        say(PIPE, "backup", "/t/b.db"),
        say(TERMINAL, "restore", "/t/b.db", "--json", typed="n\n"),
        say(TERMINAL, "restore", "/t/b.db", typed="n\n"),
        say(PIPE, "restore", "/t/b.db"),
    ]
    snapshots.same_as(FOLDER / "transcript-settings.txt", "\n".join(shown))
