"""Rows to values and back, for all stores. Only this module knows the names of columns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..domain.errors import BatchRejected, Conflict, InvalidInput, NotFound
from ..domain.events import Event, EventKind, end_kind
from ..domain.fingerprint import dead_reason
from ..domain.model import (
    Attempt,
    Command,
    Dependency,
    Filter,
    Job,
    JobSpec,
    Outcome,
    Parents,
    QueueSettings,
    Rate,
    State,
    SupervisorRow,
    Worker,
    format_rate,
)
from ..domain.text import any_case, cases, clean_line, has_foreign_case
from ..domain.times import format_time

if TYPE_CHECKING:
    from ..domain.claims import AttemptResult
    from ..domain.rollup import Ended
    from ..domain.schedule import Schedule, ScheduleInfo
    from .signature import Signature

T = TypeVar("T")

_ALPHABET = b"0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u
_TO_ALPHABET = bytes(_ALPHABET[byte & 31] for byte in range(256))
ID_LENGTH = 10
"""45 random bits and a check character. A prefix of four or five characters is usually unique
among thousands of jobs."""

MAX_SEARCH, MAX_SEARCH_CASES = 10_000, 2_000
"""Characters. LIKE takes 50,000 bytes, and a pattern ends at a NUL. The second limit is for texts
in which each letter becomes a set of its upper and lower cases, of up to 20 bytes."""


class Row(Protocol):
    """A row of a driver: values by column."""

    def __getitem__(self, name: str) -> Any: ...


def value_of(row: Any) -> Any:
    """The only column of a row."""
    return row[0]


def first_of(values: Sequence[T]) -> T | None:
    """The first value; None if there is none."""
    return values[0] if values else None


def new_ids(count: int) -> list[str]:
    """Generated job ids. The last character is computed from the others, so that
    :func:`is_generated` can tell them from ids that people gave."""
    size = ID_LENGTH - 1
    raw = os.urandom(count * size).translate(_TO_ALPHABET)
    parts = [raw[i : i + size] for i in range(0, len(raw), size)]
    return [f"{part.decode()}{chr(_ALPHABET[sum(part) & 31])}" for part in parts]


def refuse_twice(found: Sequence[Row]) -> None:
    """BatchRejected for lines of a batch with the id of an earlier line (the query ``twice``)."""
    if found:
        problems = [
            (row["line"], f"id '{row['id']}' is given twice (first on line {row['first']})")
            for row in found
        ]
        raise BatchRejected(problems, found[0]["total"])


def renamed(found: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """New ids for the lines of a batch with an id that is taken in the store (the query
    ``taken``). Conflict if it is not a generated one."""
    for row in found:
        if not row["generated"]:
            line = f"line {row['line']}: id '{row['id']}' is taken"
            raise Conflict(f"nothing enqueued: {line}", "choose another")
        yield {"id": new_ids(1)[0], "line": row["line"]}


def is_generated(job_id: str) -> bool:
    """Whether queuectl generated this id. Of the ids of this length and alphabet that people give,
    one in 32 passes too."""
    raw = job_id.encode("ascii", "replace")
    return (
        len(raw) == ID_LENGTH
        and not raw.translate(None, _ALPHABET)
        and raw[-1] == _ALPHABET[sum(raw[:-1]) & 31]
    )


def conditions(where: Filter) -> dict[str, Any]:
    """A filter's conditions, except its states and seqs, as parameters."""
    search = glob = regex = None
    if where.search is not None and has_foreign_case(where.search):
        # In both stores LIKE ignores the case of ASCII letters only. So each letter becomes a set.
        if "\0" in where.search or len(where.search) > MAX_SEARCH_CASES:
            raise InvalidInput("that is not a text to search for", "give a few words of it")
        sets = (f"[{cases(c)}]" if len(cases(c)) > 1 or c in "*?[" else c for c in where.search)
        glob, regex = f"*{''.join(sets)}*", any_case(where.search)
    elif where.search is not None:
        escaped = where.search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        search = f"%{escaped}%"
        if "\0" in search or len(search) > MAX_SEARCH:
            raise InvalidInput("that is not a text to search for", "give a few words of it")
    return {
        "queues": list(where.queues) or None,
        "exit_codes": list(where.exit_codes) or None,
        "reasons": list(where.reasons) or None,
        "keys": list(where.keys) or None,
        "search": search,
        "glob": glob,
        "regex": regex,
    }


def stored_command(command: Command) -> tuple[str, bool]:
    """A command as it is stored, and whether it is an argv."""
    if isinstance(command, str):
        return command, False
    # Without \u escapes, because the text search reads this column.
    return json.dumps(command, ensure_ascii=False), True


def spec_params(spec: JobSpec, now: float) -> dict[str, Any]:
    """A spec as the parameters of ``insert_job`` (its id must be filled in)."""
    command, is_argv = stored_command(spec.command)
    env = json.dumps(spec.env) if spec.env else "{}"
    values = spec._asdict() | {"command": command, "is_argv": is_argv, "env": env, "now": now}
    parents = spec.parents
    return values | {
        "parents": json.dumps(parents) if parents else None,
        "waits": bool(spec.hold or parents),
        "held_at": now if spec.hold else None,
        "held_by": spec.actor or None if spec.hold else None,
        "secrets": json.dumps(spec.secrets) if spec.secrets else None,
        "stdin": None if spec.stdin is None else spec.stdin.encode(),
    }


def to_job(row: Iterable[Any]) -> Job:
    """A whole row of ``jobs``: the columns in the order of the table."""
    (
        seq,
        job_id,
        command,
        is_argv,
        max_retries,
        backoff_base,
        priority,
        run_at,
        timeout_seconds,
        cwd,
        env,
        queue,
        nice,
        memory_limit,
        cpu_seconds,
        output_limit,
        state,
        attempts,
        crashes,
        runs,
        created_at,
        updated_at,
        started_at,
        finished_at,
        exit_code,
        last_error,
        _,  # reason
        worker,
        owner,
        shim,
        cancel,
        _,  # ready
        key,
        unique,
        unique_until,
        unique_for,
        holds_unique,
        parents,
        on_parent_failure,
        cause,
        held_at,
        held_by,
        secrets,
        schedule,
        scheduled_at,
        progress,
        progress_text,
        has_stdin,
        has_result,
    ) = row
    # By position, because a claim makes thousands. float(), because RETURNING may give integers.
    return Job(
        seq,
        job_id,
        tuple(json.loads(command)) if is_argv else command,
        max_retries,
        float(backoff_base),
        priority,
        float(run_at),
        float(timeout_seconds),
        cwd,
        {} if env == "{}" else json.loads(env),
        queue,
        State(state),
        attempts,
        crashes,
        runs,
        float(created_at),
        float(updated_at),
        None if started_at is None else float(started_at),
        None if finished_at is None else float(finished_at),
        exit_code,
        last_error,
        worker,
        owner,
        shim,
        bool(cancel),
        nice,
        memory_limit,
        cpu_seconds,
        output_limit,
        key,
        unique,
        unique_until,
        float(unique_for),
        {} if parents is None else to_parents(parents),
        on_parent_failure,
        cause,
        held_at,
        held_by,
        bool(holds_unique),
        {} if secrets is None else json.loads(secrets),
        schedule,
        None if scheduled_at is None else float(scheduled_at),
        None if progress is None else float(progress),
        progress_text,
        bool(has_stdin),
        bool(has_result),
    )


def to_parents(text: str) -> Parents:
    """The column ``parents``."""
    return {kind: tuple(ids) for kind, ids in json.loads(text).items()}


def ready_of(run_at: float, now: float, key: str | None) -> int:
    """The column ``ready`` of a pending job: 0: not due; 1: a claim may take it; 2: the claim
    decides whether the job is the next one of its key."""
    if run_at > now:
        return 0
    return 1 if key is None else 2


def job_row(job: Job, now: float) -> tuple[Any, ...]:
    """A job that does not run, as a row of ``jobs``: the columns in the order of the table."""
    waits = job.state in (State.PENDING, State.FAILED)
    dead = job.state is State.DEAD
    return (
        job.seq,
        job.id,
        *stored_command(job.command),
        job.max_retries,
        job.backoff_base,
        job.priority,
        job.run_at,
        job.timeout_seconds,
        job.cwd,
        json.dumps(job.env) if job.env else "{}",
        job.queue,
        job.nice,
        job.memory_limit,
        job.cpu_seconds,
        job.output_limit,
        job.state,
        job.attempts,
        job.crashes,
        job.runs,
        job.created_at,
        job.updated_at,
        job.started_at,
        job.finished_at,
        job.exit_code,
        job.last_error,
        dead_reason(job.exit_code, job.last_error) if dead else None,
        job.worker,
        None,  # owner
        None,  # shim
        False,  # cancel
        ready_of(job.run_at, now, job.key) if waits else None,
        job.key,
        job.unique,
        job.unique_until,
        job.unique_for,
        job.holds_unique,
        json.dumps(job.parents) if job.parents else None,
        job.on_parent_failure,
        job.cause,
        job.held_at,
        job.held_by,
        json.dumps(job.secrets) if job.secrets else None,
        job.schedule,
        job.scheduled_at,
        job.progress,
        job.progress_text,
        job.has_stdin,
        job.has_result,
    )


def attempt_row(seq: int, attempt: Attempt, made_dead: bool) -> tuple[Any, ...]:
    """An attempt as a row of ``attempts``: the columns in the order of the table."""
    number, started_at, finished_at, outcome, *rest = attempt
    return (seq, number, started_at, finished_at, outcome, made_dead, *rest)


def to_attempt(row: Row) -> Attempt:
    """A row of ``attempts``."""
    values = {name: row[name] for name in Attempt._fields}
    return Attempt(**values | {"outcome": Outcome(row["outcome"])})


def to_ended(row: Any) -> Ended:
    """An attempt that ended, as rollups count it."""
    outcome, dead, ran, waited = row
    return Outcome(outcome), bool(dead), ran, waited


def result_params(result: AttemptResult) -> dict[str, Any]:
    """A result as parameters: its attempt, the new values of its job, and its tail. ``shell_code``
    is the exit code of the job, ``exit_code`` that of the attempt."""
    attempt, after = result.attempt, result.transition
    code, dead = attempt.shell_code, after.state is State.DEAD
    # A pending job may be claimed now, if its key allows it; a failed job waits for its backoff.
    ready = {State.PENDING: 1, State.FAILED: 0}.get(after.state)
    reason = dead_reason(code, after.last_error) if dead else None
    return {
        **attempt._asdict(),
        **after._asdict(),
        "seq": result.seq,
        "run": result.run,
        "ready": ready,
        "shell_code": code,
        "dead_reason": reason,
        "made_dead": dead,
        "tail": result.tail,
    }


def report_params(results: Iterable[AttemptResult]) -> list[dict[str, Any]]:
    """The parameters of ``reported`` for the attempts that reported something."""
    return [
        {"seq": one.seq, "run": one.run, **one.report._asdict()}
        for one in results
        if one.report is not None
    ]


def to_supervisor(row: Row, id_column: str = "id", *, lapsed: bool | None = None) -> SupervisorRow:
    """A row of ``supervisors``, or of a join with it."""
    found = {name: row[name] for name in SupervisorRow._fields if name not in ("id", "lapsed")}
    found |= {"id": row[id_column], "detached": bool(row["detached"]), "lapsed": lapsed}
    return SupervisorRow(**found)


def edit_params(job: Job, changes: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The parameters of ``edit_job``: the job as the caller read it, and its new fields."""
    command, is_argv = stored_command(changes.get("command", job.command))
    fields = ("priority", "run_at", "queue", "timeout_seconds", "max_retries", "key")
    values = {name: changes.get(name, getattr(job, name)) for name in fields}
    seen = {"seq": job.seq, "state": job.state, "runs": job.runs, "seen_at": job.updated_at}
    return values | seen | {"command": command, "is_argv": is_argv, "now": now}


def new_job(job_id: str) -> str:
    """A job that is being enqueued, for an error. Nobody knows an id that was generated for it."""
    return "the job" if is_generated(job_id) else f"job '{job_id}'"


def no_parent(where: str, parent: str) -> NotFound:
    """The error for a job that would wait for a job that does not exist."""
    shown = clean_line(parent, 60)
    return NotFound(f"{where} waits for '{shown}', and there is no such job", "see: queuectl list")


def held_unique(holder: Job, where: str = "") -> Conflict:
    """The error for a unique value that another job holds. ``where``: the line, with a colon."""
    return Conflict(
        f"{where}job '{holder.id}' holds the unique value '{holder.unique}'",
        "leave out --on-conflict fail to get that job instead",
    )


def not_replaced(holder: Job) -> Conflict:
    """The error for a job that holds a unique value and has started."""
    return Conflict(
        f"job '{holder.id}' holds the unique value '{holder.unique}' and is {holder.state};"
        " only a job that has not started can be replaced",
        "leave out --on-conflict replace to get that job instead",
    )


def waits_for_itself(job: Job) -> InvalidInput:
    """The error for a replaced job that would wait for itself through other jobs."""
    return InvalidInput(
        f"job '{job.id}' would wait for itself in a circle", "leave that parent out"
    )


def unended(name: str, number: int) -> Conflict:
    """The error for removing the settings of a queue that is in use."""
    jobs = "a job that has" if number == 1 else f"{number:,} jobs that have"
    return Conflict(f"queue '{name}' has {jobs} not ended", "wait, or cancel them")


def to_queue(row: Row) -> QueueSettings:
    """A row of ``queues``."""
    count = row["rate_count"]
    return QueueSettings(
        row["name"],
        row["max_running"],
        row["per_host"],
        row["per_key"],
        None if count is None else Rate(count, float(row["rate_seconds"])),
        row["paused_at"],
        row["paused_by"],
        row["paused_reason"],
        row["paused_until"],
    )


def queue_params(queue: QueueSettings) -> dict[str, Any]:
    """The columns of a row of ``queues``."""
    values = queue._asdict()
    rate = values.pop("rate")
    return values | {
        "max_running": values.pop("limit"),
        "rate_count": rate.starts if rate else None,
        "rate_seconds": rate.seconds if rate else None,
    }


def dependency_row(one: Dependency) -> tuple[Any, ...]:
    """A row of ``dependencies``: the columns in the order of the table."""
    return (one.child_seq, one.parent_seq, one.kind, one.parent, one.waived)


def to_dependency(row: Row) -> Dependency:
    """A row of a query for dependencies."""
    state = row["parent_state"]
    return Dependency(
        row["kind"],
        row["child_id"],
        row["child"],
        State(row["child_state"]),
        row["parent_id"],
        row["parent"],
        None if state is None else State(state),
        bool(row["waived"]),
    )


def to_worker(row: Row) -> Worker:
    """A row of the ``workers`` query."""
    busy = row["job"] is not None
    if row["stop"]:
        state = "stopping"
    elif not row["up"]:
        state = "starting"
    else:
        state = "busy" if busy else "idle"
    return Worker(
        id=row["id"],
        supervisor=row["supervisor"],
        host=row["host"],
        pid=row["pid"],
        detached=bool(row["detached"]),
        queues=tuple(json.loads(row["queues"])),
        state=state,
        job=row["job"],
        job_started_at=row["job_started_at"],
        done=row["done"],
        failed=row["failed"],
        started_at=row["started_at"],
        heartbeat_at=row["heartbeat_at"],
        job_pid=row["job_pid"] if busy else None,
        cpu_percent=row["cpu_percent"] if busy else None,
        memory=row["memory"] if busy else None,
        progress=row["progress"],
        progress_text=row["progress_text"],
    )


def unscheduled(made: Sequence[Job]) -> list[tuple[int, str]]:
    """(key, id) of the new jobs whose enqueueing is an event. For the runs of a schedule, there is
    an event of the schedule."""
    return [(job.seq, job.id) for job in made if job.schedule is None]


def event_row(
    signature: Signature,
    kind: str,
    now: float,
    *,
    name: str | None = None,
    count: int | None = None,
    detail: Mapping[str, Any] | None = None,
    via: str | None = None,
) -> dict[str, Any]:
    """A new event as parameters. The caller adds the job."""
    return {
        "at": now,
        "kind": str(kind),
        "actor": storable(signature.actor),
        "via": via or signature.via,
        "job": None,
        "job_id": None,
        "last_job": None,
        "name": name,
        "count": count,
        "detail": json.dumps(detail or {}),  # ASCII only: it may hold any text
    }


WORKER = "worker"
"""The ``via`` of what supervisors write."""


def started_detail(workers: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, Any]:
    """The detail of ``worker.started``. ``workers``: id and queues of each."""
    queues = sorted({queue for _, served in workers for queue in served})
    found: dict[str, Any] = {"workers": [worker for worker, _ in workers]}
    return found | ({"queues": queues} if queues else {})


def queue_events(
    before: QueueSettings, after: QueueSettings
) -> Iterator[tuple[EventKind, dict[str, Any]]]:
    """The events of a change of a queue's settings, each with its detail."""
    paused = ("paused_at", "paused_by", "paused_reason", "paused_until")
    if any(getattr(before, name) != getattr(after, name) for name in paused):
        if after.paused_at is None:
            yield EventKind.QUEUE_RESUMED, {}
        else:
            given = {"reason": after.paused_reason, "until": format_time(after.paused_until)}
            yield EventKind.QUEUE_PAUSED, {k: v for k, v in given.items() if v is not None}
    old, new = before._asdict(), after._asdict()
    changes = {k: v for k, v in new.items() if k not in paused and v != old[k]}
    if changes:
        yield (
            EventKind.QUEUE_CHANGED,
            {
                "changes": told_changes(changes),
                "before": told_changes({name: old[name] for name in changes}),
            },
        )


def to_event(row: Any) -> Event:
    """A row of ``events``."""
    return Event(
        _kind(_text(row["kind"]) or ""),
        _moment(row["at"]),
        seq=row["seq"],
        actor=_text(row["actor"]) or "",
        via=_text(row["via"]) or "",
        job=_whole(row["job"]),
        job_id=_text(row["job_id"]),
        last_job=_whole(row["last_job"]),
        name=_text(row["name"]),
        count=_whole(row["n"]),
        detail=_detail(_text(row["detail"]) or ""),
    )


LAST_MOMENT = 253370764800.0
"""The end of the year 9998. Somebody may have written a later time into an event."""


def _text(value: Any) -> str | None:
    """A column of SQLite may hold a value of any kind."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)


def _moment(value: Any) -> float:
    return min(max(value, 0.0), LAST_MOMENT) if isinstance(value, float | int) else 0.0


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _kind(text: str) -> str:
    """An unknown kind stays as it is: anybody who can write to the store can write events, and must
    not keep others from being read."""
    return EventKind(text) if text in EventKind._value2member_map_ else text


def _detail(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"unreadable": str(text)[:100]}


EVENT_FIELDS = (
    *("seq", "at", "kind", "actor", "via", "job", "job_id", "last_job", "name", "n", "detail"),
)
"""The columns of ``events`` that :func:`copied_event` gives."""


def copied_event(event: Event) -> tuple[Any, ...]:
    """An event as a row of another store, which keeps its key."""
    return (
        *(event.seq, event.at, str(event.kind), event.actor, event.via, event.job, event.job_id),
        *(event.last_job, event.name, event.count, json.dumps(event.detail)),
    )


def to_end(row: Any) -> Event:
    """The end of an attempt. The row is of ``attempts``, with ``job_id``."""
    attempt = to_attempt(row)
    outcome, ended = attempt.outcome, attempt.finished_at
    if outcome is None or ended is None:
        raise ValueError("an attempt without an end")
    kind = end_kind(outcome, made_dead=bool(row["made_dead"]))
    found: dict[str, Any] = {"attempt": attempt.number, "outcome": outcome.value}
    given = {
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "reason": attempt.reason,
        "worker": attempt.worker,
    }
    found |= {name: value for name, value in given.items() if value is not None}
    return _of_attempt(kind, ended, row, attempt.host, found)


def to_start(row: Any) -> Event:
    """The start of an attempt that has ended. The same row."""
    attempt = to_attempt(row)
    found: dict[str, Any] = {"attempt": attempt.number}
    if attempt.worker is not None:
        found["worker"] = attempt.worker
    return _of_attempt(EventKind.STARTED, attempt.started_at, row, attempt.host, found)


def _of_attempt(
    kind: EventKind, at: float, row: Any, host: str | None, detail: dict[str, Any]
) -> Event:
    return Event(
        kind,
        at,
        actor=host or "",
        via=WORKER,
        job=row["job"],
        job_id=row["job_id"],
        detail=detail,
    )


def to_running(row: Any) -> Event:
    """The start of an attempt that runs."""
    seq, runs, job_id, started_at, worker, host = row
    found = {"attempt": runs, "worker": worker}
    return Event(
        EventKind.STARTED,
        float(started_at),
        actor=host or "",
        via=WORKER,
        job=seq,
        job_id=job_id,
        detail=found,
    )


MAX_TOLD = 1000
"""Characters of a text that an event repeats."""


def told_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """New values of fields, as an event shows them. Values of environment variables and references
    to secrets are not shown."""
    return {name: _told(name, value) for name, value in changes.items()}


def _told(name: str, value: Any) -> Any:
    if name in ("env", "secrets", "stdin"):
        return "***"
    if isinstance(value, str):
        return value if len(value) <= MAX_TOLD else f"{value[:MAX_TOLD]}…"
    if isinstance(value, Rate):
        return format_rate(value)
    if isinstance(value, (tuple, list)):
        words = [_told("", word) for word in value[:MAX_TOLD]]
        return words if sum(map(len, words)) <= 2 * MAX_TOLD else [*words[:1], "…"]
    if name.endswith("_at") and isinstance(value, float):
        return format_time(value)
    return value


def edited_fields(job: Job, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The ``changes`` that differ from what the job had."""
    return {name: value for name, value in changes.items() if getattr(job, name) != value}


def replaced_fields(holder: Job, params: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a job that another spec replaces, whose parameters these are."""
    command, is_argv = stored_command(holder.command)
    plain = ("max_retries", "backoff_base", "priority", "run_at", "timeout_seconds", "cwd", "queue")
    limits = ("nice", "memory_limit", "cpu_seconds", "output_limit", "key")
    changes = {name: params[name] for name in plain + limits}
    changes = edited_fields(holder, changes)
    if (params["command"], bool(params["is_argv"])) != (command, is_argv):
        changes["command"] = params["command"]
        if params["is_argv"]:
            changes["command"] = json.loads(params["command"])
    if json.loads(params["env"]) != dict(holder.env):
        changes["env"] = params["env"]
    if json.loads(params["secrets"] or "{}") != dict(holder.secrets):
        changes["secrets"] = params["secrets"]
    if params["stdin"] is not None or holder.has_stdin:
        changes["stdin"] = params["stdin"]
    return changes


def bad_cursor(cursor: str) -> InvalidInput:
    """The error for a cursor of events that the store did not give."""
    shown = clean_line(cursor, 40)
    return InvalidInput(f"'{shown}' is not where a reader of events was", "begin without it")


def storable(text: str) -> str:
    """The text as every store can keep it."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def schedule_params(schedule: Schedule) -> dict[str, Any]:
    """The columns of a row of ``schedules``."""
    return schedule._asdict() | {"job": json.dumps(schedule.job)}


def to_schedule(row: Row) -> Schedule:
    """A row of ``schedules``. ValueError if it is damaged: with an interval of next to nothing, or
    a time that no calendar has, its times could not be counted."""
    from ..domain.schedule import Schedule
    from ..domain.times import LATEST

    values = {name: row[name] for name in Schedule._fields} | {"job": json.loads(row["job"])}
    one = Schedule(**values)
    times = [one.since, one.next_at, one.due_at, one.last_at, one.skipped_at, one.success_at]
    times += [one.paused_at, one.created_at, one.updated_at]
    if (
        not isinstance(one.job, dict)
        or not isinstance(one.job.get("command"), str | list)
        or not (one.cron is not None if one.every is None else one.every >= 1)
        or not all(at is None or abs(at) <= LATEST for at in times)
    ):
        raise ValueError("a schedule is damaged")
    return one


def to_schedule_info(row: Row) -> ScheduleInfo:
    """A row of the query ``schedule_infos``."""
    from ..domain.schedule import LastRun, ScheduleInfo

    schedule = to_schedule(row)
    last = None
    if row["run_id"] is not None:
        last = LastRun(
            row["last_job"],
            row["run_id"],
            State(row["run_state"]),
            row["run_started_at"],
            row["run_finished_at"],
            row["run_error"],
        )
    known = [at for at in (schedule.success_at, row["run_success_at"]) if at is not None]
    return ScheduleInfo(schedule, last, max(known, default=None))
