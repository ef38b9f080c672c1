"""Things to show: each has values that the others have not, and some are at the edge of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from queuectl_core.domain.admission import Blocker, Reason
from queuectl_core.domain.config import Setting
from queuectl_core.domain.events import Event, EventKind
from queuectl_core.domain.figures import DeadGroup, Distribution, Stats
from queuectl_core.domain.hooks import Hook, HookInfo
from queuectl_core.domain.model import (
    Attempt,
    Job,
    Outcome,
    QueueInfo,
    QueueSettings,
    Rate,
    State,
    Worker,
)
from queuectl_core.domain.schedule import LastRun, Schedule, ScheduleInfo
from queuectl_core.operations.doctor import Finding
from queuectl_tui.presentation.attempts import ATTEMPT_COLUMNS
from queuectl_tui.presentation.columns import Column
from queuectl_tui.presentation.dead_groups import GROUP_COLUMNS
from queuectl_tui.presentation.events import EVENT_COLUMNS
from queuectl_tui.presentation.findings import FINDING_COLUMNS
from queuectl_tui.presentation.hooks import HOOK_COLUMNS
from queuectl_tui.presentation.jobs import job_columns
from queuectl_tui.presentation.queues import QUEUE_COLUMNS
from queuectl_tui.presentation.schedules import SCHEDULE_COLUMNS
from queuectl_tui.presentation.settings import SETTING_COLUMNS
from queuectl_tui.presentation.stats import STATS_COLUMNS, TIME_COLUMNS, time_rows
from queuectl_tui.presentation.why import blocker_columns
from queuectl_tui.presentation.workers import WORKER_COLUMNS

from ..support import NOW

DAY = 86400.0


def job(name: str, state: State = State.PENDING, **fields: Any) -> Job:
    """A job; what is not given is unremarkable."""
    values: dict[str, Any] = {
        "seq": 1,
        "id": name,
        "command": "make all",
        "max_retries": 3,
        "backoff_base": 2.0,
        "priority": 0,
        "run_at": NOW - 300,
        "timeout_seconds": 0.0,
        "cwd": "/srv",
        "env": {},
        "queue": "default",
        "state": state,
        "attempts": 0,
        "crashes": 0,
        "runs": 0,
        "created_at": NOW - 300,
        "updated_at": NOW - 240,
        "started_at": None,
        "finished_at": None,
        "exit_code": None,
        "last_error": None,
        "worker": None,
    }
    return Job(**(values | fields))


LONG = "a long sentence about what went wrong here, and why; " * 50

_JOBS = (
    job("plain"),
    job("due-now", run_at=NOW + 1.0),
    job("due-soon", run_at=NOW + 1.5),
    job(
        "rich",
        command=("printf", "%s\n", "it's"),
        priority=-7,
        run_at=NOW + 7300,
        timeout_seconds=90.5,
        backoff_base=1.5,
        max_retries=0,
        cwd="/srv/\x1b[31m",
        env={"ZED": "1", "ALPHA": "two words"},
        queue="mail-of-the-whole-department",
        nice=5,
        memory_limit=512 << 20,
        cpu_seconds=90,
        output_limit=3 << 20,
        key="customer/7",
        unique="invoice-7",
        unique_for=5400.0,
        parents={"after": ("a", "b"), "after_failed": ("c",)},
        on_parent_failure="hold",
        secrets={"TOKEN": "file:/run/token", "KEY": "file:/run/key"},
        schedule="nightly",
        scheduled_at=NOW - 60,
        has_stdin=True,
        stdin="first\nsecond\n",
        has_result=True,
        result=" 42\n",
    ),
    job(
        "runs",
        State.PROCESSING,
        attempts=1,
        crashes=2,
        runs=4,
        started_at=NOW - 61,
        worker="w1-1",
        unique="u",
        unique_until="start",
        progress=40.25,
        progress_text="indexing",
        has_stdin=True,
        has_result=True,
        schedule="hourly",
    ),
    job("claimed", State.PROCESSING, has_stdin=True, stdin="", has_result=True, result=" \n"),
    job("waits", State.WAITING, parents={"after_any": ("p",)}),
    job("held", State.WAITING, held_at=NOW - 3600, held_by="eve@alpha"),
    job("held-by-nobody", State.WAITING, held_at=NOW - 3600),
    job("held-by-parent", State.WAITING, cause="p"),
    job(
        "done",
        State.COMPLETED,
        attempts=1,
        exit_code=0,
        started_at=NOW - 200,
        finished_at=NOW - 100,
        last_error="exit 1: earlier",
        progress=100.0,
    ),
    job(
        "tried",
        State.FAILED,
        attempts=2,
        exit_code=7,
        run_at=NOW + 30,
        started_at=NOW - 50,
        finished_at=NOW - 45,
        last_error="exit 7: no\troute",
    ),
    job("due-again", State.FAILED, run_at=NOW - 1, last_error="exit 1", exit_code=1),
    job(
        "d" * 41,
        State.DEAD,
        command="x" * 500,
        attempts=3,
        exit_code=-1,
        finished_at=NOW - 2 * DAY,
        last_error=LONG,
    ),
    job("never-ran", State.DEAD, exit_code=0),
    job("stopped", State.CANCELLED, exit_code=143, last_error="cancelled by eve"),
    job("orphan", State.CANCELLED, cause="parent\n7"),
)
REASONS = {
    "plain": Reason.ALL_BUSY,
    "rich": Reason.QUEUE_LIMIT,
    "tried": Reason.QUEUE_PAUSED,
    "runs": Reason.UNCERTAIN,
}
JOBS = tuple(one._replace(seq=number) for number, one in enumerate(_JOBS, 1))
WAITS = {one.seq: REASONS[one.id] for one in JOBS if one.id in REASONS}


def worker(name: str, state: str = "idle", **fields: Any) -> Worker:
    """A worker; what is not given is unremarkable."""
    values: dict[str, Any] = {
        "supervisor": "w1",
        "host": "alpha",
        "pid": 4242,
        "detached": False,
        "queues": (),
        "state": state,
        "job": None,
        "job_started_at": None,
        "done": 0,
        "failed": 0,
        "started_at": NOW - DAY,
        "heartbeat_at": NOW - 1,
        "job_pid": None,
        "cpu_percent": None,
        "memory": None,
    }
    return Worker(id=name, **(values | fields))


WORKERS = (
    worker("w1-1"),
    worker(
        "w1-2",
        "busy",
        host="beta",
        detached=True,
        queues=("mail", "default"),
        job="job-\x07" + "7" * 53,
        job_started_at=NOW - 2.0,
        done=1234,
        failed=1,
        heartbeat_at=NOW - 14.9,
        cpu_percent=12.6,
        memory=3 << 20,
        progress=50.0,
        progress_text="half",
    ),
    worker("w1-3", "busy", job="young", job_started_at=NOW - 1.9, cpu_percent=1.0, memory=5),
    worker(
        "w1-4",
        "lost",
        queues=tuple(f"queue-{n}" for n in range(9)),
        job="gone",
        job_started_at=NOW - 700,
        heartbeat_at=NOW - 15,
        cpu_percent=1.0,
        memory=5,
    ),
    worker("w1-5", "lost", heartbeat_at=NOW - 3, job_started_at=NOW + 1),
    worker("w" * 41, "starting"),
    worker("w1-7", "stopping"),
)


def queue_(
    name: str, counts: dict[State, int], due: float | None, workers: int, **limits: Any
) -> QueueInfo:
    """A queue."""
    return QueueInfo(QueueSettings(name, **limits), counts, due, workers)


QUEUES = (
    queue_("default", {State.COMPLETED: 1200}, None, 2),
    queue_(
        "full",
        {State.PROCESSING: 2, State.PENDING: 1000, State.WAITING: 1, State.FAILED: 1},
        NOW - 3,
        0,
        limit=2,
        per_host=3,
        per_key=4,
        rate=Rate(60, 60.0),
    ),
    queue_("roomy", {State.PROCESSING: 1}, NOW + 5, 1, limit=2, rate=Rate(3, 7200.0)),
    queue_(
        "paused",
        {State.PENDING: 1, State.DEAD: 3},
        NOW - 4000,
        1,
        paused_at=NOW - 60,
        paused_by="eve@alpha",
        paused_reason="moving\nhouse",
        paused_until=NOW + 90,
        rate=Rate(5, 1.0),
    ),
    queue_("paused-by-nobody", {}, None, 0, paused_at=NOW - 60, rate=Rate(7, 2 * DAY)),
    queue_("resumed", {}, None, 0, paused_at=NOW - 60, paused_by="eve", paused_until=NOW),
    queue_("q" * 41, {}, None, 0),
)


def hook(name: str, **fields: Any) -> Hook:
    """A hook; what is not given is unremarkable."""
    values: dict[str, Any] = {
        "events": ("dead",),
        "queue": None,
        "digest": 0.0,
        "url": None,
        "secret_file": None,
        "job": {
            "command": ["notify", "a b"],
            "env": {"WHO": "ops", "TOKEN": "t"},
            "cwd": "/srv",
            "max_retries": 5,
            "backoff_base": 2.0,
            "timeout_seconds": 60.0,
            "priority": 0,
        },
        "paused_at": None,
        "paused_by": None,
        "paused_reason": None,
        "created_at": NOW - DAY,
        "updated_at": NOW - 60,
    }
    return Hook(name=name, **(values | fields))


URL_JOB = {
    "command": ["queuectl", "hook", "deliver", "pager"],
    "env": {
        "QUEUECTL_HOOK_URL": "https://u:p@pager.example/hooks/secret?x=1",
        "QUEUECTL_HOOK_SECRET_FILE": "/etc/key",
    },
    "cwd": "/",
    "max_retries": 0,
    "backoff_base": 1.5,
    "timeout_seconds": 5.5,
    "priority": 9,
}
HOOKS = (
    HookInfo(hook("say")),
    HookInfo(
        hook(
            "pager",
            events=("dead", "failed", "queue.empty"),
            queue="mail",
            digest=90.0,
            url="https://u:p@pager.example/hooks/secret?x=1",
            secret_file="/etc/key",
            job=URL_JOB,
        ),
        1,
        NOW - 30,
    ),
    HookInfo(hook("late", digest=60.0, url="http://a/b", job=URL_JOB), 1200, NOW - 60),
    HookInfo(
        hook("quiet", paused_at=NOW - 120, paused_by="eve", paused_reason="holiday"), 3, NOW - 9
    ),
    HookInfo(hook("p" * 40, paused_at=NOW + 5, url="http://a/12345678", job=URL_JOB)),
    HookInfo(hook("nine", paused_at=NOW - 5, url="http://a/1234567", job=URL_JOB)),
)


def schedule(name: str, **fields: Any) -> Schedule:
    """A schedule; what is not given is unremarkable."""
    values: dict[str, Any] = {
        "cron": "30 2 * * *",
        "every": None,
        "tz": "UTC",
        "missed": "once",
        "missed_within": DAY,
        "overlap": "skip",
        "jitter": 0.0,
        "job": {"command": "make nightly"},
        "since": NOW - DAY,
        "next_at": NOW + 3600,
        "due_at": NOW + 3600,
        "created_at": NOW - 3 * DAY,
        "updated_at": NOW - DAY,
    }
    return Schedule(name=name, **(values | fields))


def last_run(
    state: State, started_at: float | None = NOW - 100, error: str | None = None
) -> LastRun:
    """How the last run of a schedule stands."""
    return LastRun(7, "run-7", state, started_at, NOW - 90, error)


SCHEDULES = (
    ScheduleInfo(schedule("nightly"), None, None),
    ScheduleInfo(
        schedule(
            "often",
            cron=None,
            every=90061.5,
            tz="Europe/Berlin",
            missed="all",
            missed_within=7200.0,
            overlap="queue",
            jitter=30.0,
            job={
                "command": ["echo", "a b"],
                "env": {"A": "secret"},
                "secrets": {"T": "file:/run/t"},
                "stdin": "line\n" * 240,
                "after": ["p", "q"],
                "timeout_seconds": 60.0,
                "queue": "mail",
                "backoff_base": 1.5,
            },
            due_at=NOW + 3621,
            last_at=NOW - 3600,
            last_job=7,
            skipped_at=NOW - 7200,
            skipped_reason="the run of before has not ended",
        ),
        last_run(State.COMPLETED),
        NOW - 90,
    ),
    ScheduleInfo(
        schedule("skips", last_at=NOW - 60, skipped_at=NOW - 60, skipped_reason="busy"),
        last_run(State.DEAD, None, "exit 1: no disk"),
        None,
    ),
    ScheduleInfo(
        schedule("late", next_at=NOW - 60.5, due_at=NOW - 60.5, skipped_at=NOW + 9), None, None
    ),
    ScheduleInfo(schedule("not-late", next_at=NOW - 60, due_at=NOW - 60), None, None),
    ScheduleInfo(schedule("half", due_at=None, skipped_at=NOW - 5), last_run(State.FAILED), None),
    ScheduleInfo(schedule("over", next_at=None, due_at=None), last_run(State.PROCESSING), None),
    ScheduleInfo(
        schedule("paused", paused_at=NOW - 60, paused_by="eve", paused_reason="moving"), None, None
    ),
    ScheduleInfo(schedule("n" * 40, paused_at=NOW - 60, next_at=None, due_at=NOW - 90), None, None),
)


def event(kind: str, ago: float = 60.0, **fields: Any) -> Event:
    """An event."""
    values: dict[str, Any] = {"seq": 5, "actor": "eve@alpha", "via": "cli"}
    return Event(kind, NOW - ago, **(values | fields))


EVENTS = (
    event(EventKind.ENQUEUED, job=1, job_id="a\x1b", detail={"queue": "default"}),
    event(EventKind.ENQUEUED, count=1000, job=1, last_job=1000, detail={"queue": "mail"}),
    event(EventKind.ENQUEUED, count=1, detail={}),
    event(EventKind.STARTED, seq=None, job_id="a", detail={"attempt": 1, "worker": "w1-1"}),
    event(EventKind.COMPLETED, job_id="a", detail={"attempt": 1, "outcome": "completed"}),
    event(
        EventKind.FAILED,
        job_id="a",
        detail={"attempt": 2, "outcome": "timeout", "worker": "w", "reason": "timed out"},
    ),
    event(EventKind.FAILED, job_id="a", detail={"attempt": 2, "outcome": "failed", "reason": ""}),
    event(EventKind.DEAD, job_id="a", detail={"attempt": 3, "outcome": "crashed"}),
    event(EventKind.CANCELLED, job_id="a", detail={"reason": None, "was": "pending"}),
    event(EventKind.RETRIED, count=2, detail={"filter": {"state": ["dead"], "search": "x"}}),
    event(EventKind.RETRIED, count=2, detail={"filter": {}}),
    event(EventKind.REMOVED, job_id="a", name="cascade"),
    event(
        EventKind.EDITED,
        job_id="a",
        detail={"changes": {"priority": 5, "key": None}, "before": {"priority": 0}},
    ),
    event(EventKind.HELD, job_id="a", detail={"reason": "wait\nfor me"}),
    event(EventKind.RELEASED, job_id="a"),
    event(EventKind.QUEUE_PAUSED, name="mail", detail={"reason": "tired", "until": None}),
    event(EventKind.QUEUE_RESUMED, name="mail", actor="", via="worker"),
    event(EventKind.QUEUE_CHANGED, name="mail", detail={"changes": {"limit": 2}, "new": True}),
    event(EventKind.SCHEDULE_FIRED, ago=2 * DAY, name="nightly", job_id="nightly@1", via="worker"),
    event(EventKind.SCHEDULE_SKIPPED, name="nightly", detail={"reason": "busy"}),
    event(EventKind.SCHEDULE_MISSED, name="nightly", count=5000, detail={"complete": False}),
    event(EventKind.SCHEDULE_MISSED, name="nightly", count=1, detail={"complete": True, "n": 1}),
    event(EventKind.SCHEDULE_CHANGED, name="nightly", detail={"added": True}),
    event(EventKind.WORKER_STARTED, name="w1", detail={"workers": ["w1-1", "w1-2"]}),
    event(EventKind.WORKER_STOPPED, name="w1"),
    event(EventKind.WORKER_LOST, name="w1"),
    event(EventKind.CONFIG_CHANGED, name="timeout", detail={"old": None, "new": 60}),
    event(EventKind.CONFIG_CHANGED, name="timeout", detail={"old": 60, "new": None}),
    event(EventKind.HOOK_CHANGED, name="pager", detail={"removed": True}),
    event("foreign.kind\x07", name="thing", count=2),
)


def attempt(number: int, outcome: Outcome | None, **fields: Any) -> Attempt:
    """An attempt; what is not given is unremarkable."""
    values: dict[str, Any] = {
        "started_at": NOW - 3700,
        "finished_at": NOW - 100,
        "exit_code": None,
        "signal": None,
        "reason": None,
        "worker": "w1-1",
        "host": "alpha",
        "peak_memory": None,
        "cpu_seconds": None,
        "output_bytes": 0,
        "waited": 0.5,
    }
    return Attempt(number=number, outcome=outcome, **(values | fields))


ATTEMPTS = (
    attempt(
        1,
        Outcome.COMPLETED,
        exit_code=0,
        peak_memory=10 << 20,
        cpu_seconds=1.25,
        output_bytes=12345,
    ),
    attempt(2, Outcome.FAILED, exit_code=9, reason="exit 9: bad\tthing", worker="w" * 31),
    attempt(3, Outcome.TIMEOUT, signal=15, reason=LONG, worker=None, host=None),
    attempt(4, Outcome.CRASHED, started_at=NOW - 50, finished_at=NOW - 60),
    attempt(5, Outcome.CANCELLED),
    attempt(6, Outcome.INTERRUPTED),
    attempt(7, None, started_at=NOW - 125, finished_at=None),
)

GROUPS = (
    DeadGroup("exit #: no space left", 1, 1234, NOW - 3700, 9),
    DeadGroup(LONG, None, 1, None, 8),
)

FINDINGS = (
    Finding("store", "ok", "/srv/queue.db, version 9"),
    Finding("disk", "warn", "nearly full", "make room"),
    Finding("workers", "bad", "\x1b[1m" + LONG, "start some"),
    Finding("litter", "fixed", "", "nothing to do"),
)

SETTINGS = (
    Setting("max-retries", 3, "default"),
    Setting("timeout", 90.0, "store"),
    Setting("shell", "/bin/" + "s" * 90, "env"),
)

BLOCKERS = tuple(
    Blocker(reason, f"detail of {reason.value}\n", since, until, command)
    for reason, since, until, command in zip(
        Reason,
        (NOW - 90, None) * 6,
        (None, NOW + 90, NOW + 5000) * 4,
        (("release", "it's"), None, ("queue", "resume", "mail")) * 4,
        strict=True,
    )
)

SPREAD = Distribution(10, 1.5, 0.25, 3600.0, 1.0, 90.5, 3000.123456789)
STATS = (
    Stats(NOW - 3600, NOW, 1234, 50, 6, SPREAD, SPREAD._replace(avg=2.5), exact=False),
    Stats(NOW - 60, NOW, 0, 0, 0, None, None),
)


class Kind(NamedTuple):
    """A kind of thing, with the columns that show it."""

    rows: Sequence[Any]
    columns: Sequence[Column[Any]]
    document: Any = None
    """Its public JSON at a moment; None: it has none."""
    terminals: Sequence[tuple[str, ...]] = (("terminal",),)
    """The tables that the command line shows together."""
    screens: Sequence[tuple[str, ...]] = (("console",),)
    """Those that the console shows together."""


def _json(row: Any, now: float) -> Any:
    return row.to_json()


def _json_now(row: Any, now: float) -> Any:
    return row.to_json(now)


KINDS = {
    "jobs": Kind(JOBS, job_columns(WAITS), _json, (("list",), ("dead",))),
    "workers": Kind(
        WORKERS,
        WORKER_COLUMNS,
        _json_now,
        (("terminal",), ("terminal", "terminal_reporting")),
        (
            ("console", "one_host"),
            ("console", "several_hosts", "several_queues"),
            ("console", "several_hosts", "several_queues", "reporting"),
        ),
    ),
    "queues": Kind(QUEUES, QUEUE_COLUMNS, _json_now),
    "hooks": Kind(HOOKS, HOOK_COLUMNS, _json),
    "schedules": Kind(SCHEDULES, SCHEDULE_COLUMNS, _json),
    "events": Kind(EVENTS, EVENT_COLUMNS, _json),
    "attempts": Kind(ATTEMPTS, ATTEMPT_COLUMNS, _json),
    "groups": Kind(GROUPS, GROUP_COLUMNS, _json),
    "findings": Kind(FINDINGS, FINDING_COLUMNS),
    "settings": Kind(SETTINGS, SETTING_COLUMNS, _json),
    "blockers": Kind(
        BLOCKERS, blocker_columns("/q.db"), lambda row, now: row.to_json("run it"), ()
    ),
    "stats": Kind(STATS, STATS_COLUMNS, _json, (), ()),
    "times": Kind(
        [row for one in STATS for row in time_rows(one)], TIME_COLUMNS, None, (), (("screen",),)
    ),
}
"""Every table that a front end shows."""
