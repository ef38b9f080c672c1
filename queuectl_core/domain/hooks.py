"""Hooks: what to do when something happens. Each delivery is a job in the queue ``hooks``.

These are pure functions: which hooks an event concerns, what is delivered, and its signature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .errors import InvalidInput
from .events import Event, EventKind
from .fingerprint import dead_reason
from .model import MASK, JobSpec, plain_number
from .text import clean_line
from .times import format_time

QUEUE = "hooks"
"""The queue of all deliveries. Events of jobs in this queue trigger no hook."""

JOB_EVENTS = ("dead", "completed", "failed", "cancelled")
"""Events that are a new state of a job, with the name of the state."""
EMPTY = "queue.empty"
"""The last job of a queue that had not ended has ended."""
OTHER_EVENTS = (EventKind.SCHEDULE_MISSED.value, EventKind.WORKER_LOST.value)
"""Events that are read from the events of the store."""
EVENTS = (*JOB_EVENTS, *OTHER_EVENTS, EMPTY)
"""What a hook may subscribe to."""
ENDED = ("completed", "dead", "cancelled")
"""A job in one of these states has ended, so its queue may be empty."""
DIGEST = "digest"
"""The kind of a delivery that sums many events up."""

PROGRAM = ("queuectl", "hook", "deliver")
"""What the delivery of a hook with a URL runs. The name of the hook follows."""
URL_VARIABLE = "QUEUECTL_HOOK_URL"
SECRET_VARIABLE = "QUEUECTL_HOOK_SECRET_FILE"  # noqa: S105 - a file, not a secret
GONE = 94
"""The exit code of a delivery whose URL answered 410: nobody wants these any more."""

GONE_REASON = "the URL answered 410 Gone"

COMMAND_LIMIT, ERROR_LIMIT, OUTPUT_LIMIT = 4096, 2048, 2048
"""How many characters of a job's command and error, and bytes of its output, are delivered."""
REASON_LIMIT = 200
"""Characters of a reason by which a digest groups."""
SAMPLE = 5
"""Ids of jobs in each group of a digest."""
MOST_GROUPS = 100
"""Groups in a digest. The others are only counted."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHOWN_PATH, LONG_PATH = 5, 8
"""How many characters of a path are shown, if it is longer than the second number."""
SECRET_PREFIX = b"whsec_"


class Hook(NamedTuple):
    """One hook."""

    name: str
    events: tuple[str, ...]
    """Some of :data:`EVENTS`."""
    queue: str | None
    """Only events of this queue; None: of all."""
    digest: float
    """Seconds for which events are gathered into one delivery; 0: each is delivered by itself."""
    url: str | None
    secret_file: str | None
    """The file with the key of the signatures, on the hosts of the workers; None: not signed."""
    job: Mapping[str, Any]
    """The delivery job: ``command``, ``env``, ``cwd``, ``max_retries``, ``backoff_base``,
    ``timeout_seconds``, ``priority``."""
    paused_at: float | None
    paused_by: str | None
    paused_reason: str | None
    created_at: float
    updated_at: float

    @property
    def env(self) -> dict[str, str]:
        """The variables that were given with it, without those of the delivery to a URL."""
        own = () if self.url is None else (URL_VARIABLE, SECRET_VARIABLE)
        return {name: value for name, value in self.job["env"].items() if name not in own}

    def to_json(self, *, show_url: bool = False, show_env: bool = False) -> dict[str, Any]:
        """The public JSON. A URL may hold secrets in its path, so most of it is masked unless
        ``show_url``. Values of ``env`` are masked unless ``show_env``."""
        job = self.job
        return {
            "name": self.name,
            "events": list(self.events),
            "queue": self.queue,
            "digest": plain_number(self.digest) if self.digest else None,
            "url": None if self.url is None else self.url if show_url else masked(self.url),
            "secret_file": self.secret_file,
            "command": None if self.url is not None else list(job["command"]),
            "cwd": job["cwd"],
            "env": self.env if show_env else dict.fromkeys(self.env, MASK),
            "max_retries": job["max_retries"],
            "backoff_base": plain_number(job["backoff_base"]),
            "timeout_seconds": plain_number(job["timeout_seconds"]),
            "priority": job["priority"],
            "paused": self.paused_at is not None,
            "paused_at": format_time(self.paused_at),
            "paused_by": self.paused_by,
            "paused_reason": self.paused_reason,
            "created_at": format_time(self.created_at),
            "updated_at": format_time(self.updated_at),
        }


class HookInfo(NamedTuple):
    """A hook, and what waits for its digest."""

    hook: Hook
    waiting: int = 0
    """Events that wait for the digest."""
    since: float | None = None
    """When the first of them came."""

    @property
    def due_at(self) -> float | None:
        """When the digest is sent; None: nothing waits, or the hook is paused."""
        if self.since is None or self.hook.paused_at is not None:
            return None
        return self.since + self.hook.digest

    def to_json(self, *, show_url: bool = False, show_env: bool = False) -> dict[str, Any]:
        """The public JSON."""
        found = self.hook.to_json(show_url=show_url, show_env=show_env)
        return found | {"waiting": self.waiting, "due_at": format_time(self.due_at)}


class Tested(NamedTuple):
    """What a test of a hook found."""

    accepted: bool
    said: str
    """``HTTP 200 OK``, ``exit 0``, or why it failed."""
    output: str
    """The beginning of the response, or the end of the command's output; cleaned."""
    status: int | None
    """The HTTP status."""
    exit_code: int | None
    """The exit code of the command, as in a shell."""

    def to_json(self, name: str) -> dict[str, Any]:
        """The public JSON."""
        return {"name": name, **self._asdict()}


class Origin(NamedTuple):
    """When something happened, and who did it by which front end."""

    at: float
    actor: str
    via: str


class HookEvent(NamedTuple):
    """Something that happened and that hooks ask for."""

    event: str
    """One of :data:`EVENTS`."""
    at: float
    actor: str
    via: str
    job: str | None
    """The id of the job."""
    queue: str | None
    detail: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    """A function, if it takes time: digests need none."""
    reason: str = ""
    """Digests group by it."""

    @property
    def kind(self) -> str:
        """As events are called: ``job.dead``."""
        return f"job.{self.event}" if self.event in JOB_EVENTS else self.event


class Entry(NamedTuple):
    """Events that wait for a digest and are alike."""

    kind: str
    queue: str | None
    reason: str
    number: int
    first_at: float
    last_at: float
    jobs: tuple[str, ...]
    """The ids of the first ones, at most :data:`SAMPLE`."""


# -- checking -------------------------------------------------------------------------


def check_name(name: str) -> str:
    """The name of a hook, or InvalidInput."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"'{clean_line(name, 40)}' is not a name for a hook",
            "use up to 64 letters, digits, '.', '_' and '-', and begin with a letter or digit",
        )
    return name


def check_events(given: Iterable[str]) -> tuple[str, ...]:
    """The events of a hook, each once (``job.dead`` is ``dead``), or InvalidInput."""
    from difflib import get_close_matches

    found: dict[str, None] = {}
    for text in given:
        for word in filter(None, re.split(r"[,\s]+", text)):
            event = word.lower().removeprefix("job.")
            if event not in EVENTS:
                near = get_close_matches(event, EVENTS, 1)
                raise InvalidInput(
                    f"unknown event '{clean_line(word, 40)}'",
                    f"did you mean '{near[0]}'?" if near else f"use {', '.join(EVENTS)}",
                )
            found[event] = None
    if not found:
        raise InvalidInput("a hook needs an event", f"--on {', '.join(EVENTS)}")
    return tuple(event for event in EVENTS if event in found)


def check_url(url: str) -> str:
    """The URL of a hook, or InvalidInput."""
    from urllib.parse import urlsplit

    wrong = "it must be http://… or https://… with a host"
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url) or len(url) > 2048:
        raise InvalidInput("the URL is too long, or has characters that no URL has", wrong)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidInput("that is not a URL", wrong) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput("that is not a URL for a hook", wrong)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise InvalidInput("the port in the URL is wrong", "it must be from 1 to 65535")
    return url


def masked(url: str) -> str:
    """A URL for display: the host, and the start of a long path. The rest may be secret."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path[:SHOWN_PATH] if len(parts.path) > LONG_PATH else parts.path[:1]
    hidden = MASK if len(parts.path) > len(path) or parts.query or parts.fragment else ""
    user = f"{MASK}@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{user}{host}{path}{hidden}"


# -- changing ------------------------------------------------------------------------


def changed(hook: Hook, changes: Mapping[str, Any], now: float) -> Hook:
    """The hook with these changes; the same object if they change nothing. A pause without a reason
    is none if the hook is paused already: its first reason stays."""
    is_pause = changes.get("paused_at") is not None
    if is_pause and hook.paused_at is not None and not changes.get("paused_reason"):
        return hook
    after = hook._replace(**changes)
    return hook if after == hook else after._replace(updated_at=now)


# -- what to deliver ------------------------------------------------------------------


def watched(hooks: Iterable[Hook]) -> list[str]:
    """The states of jobs and kinds of events for which the store must look at its hooks."""
    found: set[str] = set()
    for hook in hooks:
        if hook.paused_at is None:
            found.update(hook.events)
    if EMPTY in found:
        found.remove(EMPTY)
        found.update(ENDED)
    return sorted(found)


def matches(hook: Hook, event: str, queue: str | None) -> bool:
    """Whether the hook wants an event of this queue."""
    if hook.paused_at is not None or event not in hook.events:
        return False
    return hook.queue is None or hook.queue == queue


def job_event(row: Any, event: str, origin: Origin) -> HookEvent:
    """A new state of a job. ``row``: of the query ``hook_facts``."""
    at, actor, via = row["finished_at"] or origin.at, origin.actor, origin.via
    reason = ""
    if event in ("dead", "failed"):
        reason = row["reason"] or dead_reason(row["exit_code"], row["last_error"])
    elif event == "cancelled" and row["cause"]:
        reason = "a parent ended"
    detail = partial(_job_detail, row, event, reason)
    return HookEvent(event, at, actor, via, row["id"], row["queue"], detail, reason)


def _job_detail(row: Any, event: str, reason: str) -> dict[str, Any]:
    command = row["command"]
    if row["is_argv"]:
        words = json.loads(command)
        command = words if len(row["command"]) <= COMMAND_LIMIT else words[:1]
        command = [_short(word, COMMAND_LIMIT) for word in command]
    else:
        command = _short(command, COMMAND_LIMIT)
    tail, error = row["tail"], row["last_error"]
    return {
        "queue": row["queue"],
        "state": event,
        "command": command,
        "attempts": row["attempts"],
        "max_retries": row["max_retries"],
        "crashes": row["crashes"],
        "exit_code": row["exit_code"],
        "error": None if error is None else _short(error, ERROR_LIMIT),
        "reason": reason or None,
        "cause": row["cause"],
        "schedule": row["schedule"],
        "scheduled_at": format_time(row["scheduled_at"]),
        "worker": row["worker"],
        "host": row["host"],
        "created_at": format_time(row["created_at"]),
        "started_at": format_time(row["started_at"]),
        "finished_at": format_time(row["finished_at"]),
        "output": None if tail is None else bytes(tail).decode("utf-8", "replace"),
    }


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def stored_event(event: Event) -> HookEvent:
    """An event of the store."""
    detail = event.all_detail()
    queue = detail.get("queue")
    queue = queue if isinstance(queue, str) and len(queue) <= REASON_LIMIT else None
    kind, reason = str(event.kind), event.name or ""
    return HookEvent(kind, event.at, event.actor, event.via, event.job_id, queue, detail, reason)


def empty_event(queue: str, origin: Origin) -> HookEvent:
    """A queue has become empty."""
    at, actor, via = origin
    return HookEvent(EMPTY, at, actor, via, None, queue, {"queue": queue})


Mark = tuple[int, str, int | None, int | None]
"""A row of ``hook_marks``: its key, the kind, the key of the job, the key of the event."""


def happened(
    marks: Iterable[Mark], facts: Mapping[int, Any], stored: Mapping[int, Event], origin: Origin
) -> list[HookEvent]:
    """What marks stand for. ``facts``: rows of their jobs. ``stored``: their events. What was
    removed meanwhile, or cannot be read, is left out."""
    found = []
    for _, kind, job, event in marks:
        if job is not None and job in facts:
            found.append(job_event(facts[job], kind, origin))
        elif event is not None and event in stored:
            found.append(stored_event(stored[event]))
    return found


def maybe_empty(
    hooks: Sequence[Hook], marks: Iterable[Mark], facts: Mapping[int, Any]
) -> list[str]:
    """The queues in which jobs have ended, and for which a hook asks whether they are empty."""
    if not any(EMPTY in hook.events for hook in hooks):
        return []
    queues = {
        facts[job]["queue"]
        for _, kind, job, _ in marks
        if kind in ENDED and job is not None and job in facts
    }
    return [queue for queue in sorted(queues) if any(matches(hook, EMPTY, queue) for hook in hooks)]


class Plan:
    """What to deliver: bodies of deliveries for each hook, and entries for digests."""

    def __init__(self) -> None:
        self.bodies: list[tuple[Hook, str]] = []
        self.entries: list[tuple[str, Entry]] = []


def plan(hooks: Sequence[Hook], events: Iterable[HookEvent]) -> Plan:
    """What these hooks deliver of these events."""
    found = Plan()
    gathered: dict[str, list[Entry]] = {}
    for event in events:
        for hook in hooks:
            if not matches(hook, event.event, event.queue):
                continue
            if hook.digest:
                jobs = () if event.job is None else (event.job,)
                reason = event.reason[:REASON_LIMIT]  # it is a key of an index
                entry = Entry(event.kind, event.queue, reason, 1, event.at, event.at, jobs)
                gathered.setdefault(hook.name, []).append(entry)
            else:
                found.bodies.append((hook, body(hook.name, event)))
    for name, entries in gathered.items():
        found.entries += [(name, entry) for entry in merged(entries)]
    return found


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Entries with the same kind, queue and reason are one."""
    groups: dict[tuple[str, str | None, str], Entry] = {}
    for one in entries:
        key = (one.kind, one.queue, one.reason)
        there = groups.get(key)
        if there is None:
            groups[key] = one
        else:
            groups[key] = there._replace(
                number=there.number + one.number,
                first_at=min(there.first_at, one.first_at),
                last_at=max(there.last_at, one.last_at),
                jobs=(*there.jobs, *one.jobs)[:SAMPLE],
            )
    return list(groups.values())


def body(hook: str, event: HookEvent) -> str:
    """A delivery as one line of JSON. It is ASCII only, so no text in it acts on anything that
    prints it."""
    return _line(
        {
            "hook": hook,
            "kind": event.kind,
            "at": format_time(event.at),
            "actor": event.actor,
            "via": event.via,
            "job": event.job,
            "detail": event.detail() if callable(event.detail) else event.detail,
        }
    )


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content) + "\n"


def digest_body(
    hook: str, entries: Iterable[Entry], now: float, actor: str, *, is_test: bool = False
) -> str:
    """The JSON of a digest: how often what happened, the largest groups first. ``is_test``: it says
    that it is one."""
    groups = sorted(merged(entries), key=lambda one: (-one.number, one.first_at))
    shown, rest = groups[:MOST_GROUPS], groups[MOST_GROUPS:]
    detail: dict[str, Any] = {
        "count": sum(one.number for one in groups),
        "first_at": format_time(min(one.first_at for one in groups)),
        "last_at": format_time(max(one.last_at for one in groups)),
        "groups": [
            {
                "kind": one.kind,
                "queue": one.queue,
                "reason": one.reason or None,
                "count": one.number,
                "first_at": format_time(one.first_at),
                "last_at": format_time(one.last_at),
                "jobs": list(one.jobs),
            }
            for one in shown
        ],
    }
    if is_test:
        detail["test"] = True
    if rest:
        detail["more"] = {"groups": len(rest), "count": sum(one.number for one in rest)}
    return _line(
        {
            "hook": hook,
            "kind": DIGEST,
            "at": format_time(now),
            "actor": actor,
            "via": "hook",
            "job": None,
            "detail": detail,
        }
    )


def sample_event(hook: Hook, now: float, actor: str) -> HookEvent:
    """An invented event, for a test of the hook."""
    queue = hook.queue or "default"
    if hook.events[0] not in JOB_EVENTS:
        detail = {"queue": queue, "test": True}
        return HookEvent(hook.events[0], now, actor, "hook", None, queue, detail, "a test")
    state = hook.events[0]
    failed = state in ("dead", "failed")
    row = {
        **dict.fromkeys(("cause", "schedule", "scheduled_at", "worker", "host", "started_at")),
        "id": "test",
        "command": "this is a test: no job has run",
        "is_argv": False,
        "queue": queue,
        "attempts": 3 if state == "dead" else 1,
        "max_retries": 3,
        "crashes": 0,
        "exit_code": 1 if failed else 0,
        "last_error": "exit 1: this is a test" if failed else None,
        "reason": None,
        "created_at": now,
        "finished_at": now,
        "tail": b"this is a test\n",
    }
    found = job_event(row, state, Origin(now, actor, "hook"))
    return found._replace(detail={**_job_detail(row, state, found.reason), "test": True})


def by_hook(bodies: Iterable[tuple[Hook, str]]) -> list[tuple[Hook, list[str]]]:
    """The bodies of each hook."""
    found: dict[str, tuple[Hook, list[str]]] = {}
    for hook, text in bodies:
        found.setdefault(hook.name, (hook, []))[1].append(text)
    return list(found.values())


def delivery(hook: Hook, text: str, now: float) -> JobSpec:
    """The job that delivers ``text``."""
    job = hook.job
    return JobSpec(
        command=tuple(job["command"]),
        id=None,
        max_retries=job["max_retries"],
        backoff_base=job["backoff_base"],
        priority=job["priority"],
        run_at=now,
        timeout_seconds=job["timeout_seconds"],
        cwd=job["cwd"],
        env=job["env"],
        queue=QUEUE,
        stdin=text,
    )


def delivery_prefix(hook: str) -> str:
    """What the ids of this hook's deliveries begin with, and nobody else's: no name of a hook holds
    a ``:``."""
    return f"hook:{hook}:"


def hook_of(queue: str, command: Any) -> str | None:
    """The name of the hook with a URL whose delivery runs this command; None: it is no such
    delivery."""
    if queue != QUEUE or not isinstance(command, tuple) or len(command) != len(PROGRAM) + 1:
        return None
    return str(command[-1]) if command[:-1] == PROGRAM else None


def is_unwanted(queue: str, command: Any, exit_code: int | None) -> bool:
    """Whether an attempt is a delivery to a URL that wants no more of them."""
    return exit_code == GONE and hook_of(queue, command) is not None


def may_be_unwanted(queue: str, exit_code: int | None) -> bool:
    """False: it is not such a delivery. True: look at its command."""
    return exit_code == GONE and queue == QUEUE


class Gone(NamedTuple):
    """A delivery to a URL that wants no more of them."""

    hook: str
    url: str
    """Where it was sent."""
    at: float
    """When it was enqueued."""

    def means(self, hook: Hook) -> bool:
        """Whether it says something about the hook as it is now. A hook that was added or changed
        after it may have another URL, or the same one for a new start."""
        return self.url == hook.url and self.at >= hook.updated_at


def gone_by_hook(rows: Iterable[Any]) -> dict[str, list[Gone]]:
    """The deliveries of hooks with a URL among ``rows`` of ``hooks_gone``, by the hook's name."""
    found: dict[str, list[Gone]] = {}
    for row in rows:
        name = hook_of(QUEUE, tuple(json.loads(row["command"]))) if row["is_argv"] else None
        if name is not None:
            url = json.loads(row["env"]).get(URL_VARIABLE, "")
            found.setdefault(name, []).append(Gone(name, url, row["created_at"]))
    return dict(sorted(found.items()))


def paused_as_gone(hook: Hook, now: float) -> Hook:
    """The hook after its URL answered 410. Nobody has paused it: it is done by queuectl."""
    return hook._replace(
        paused_at=now, paused_by="queuectl", paused_reason=GONE_REASON, updated_at=now
    )


# -- signatures -----------------------------------------------------------------------


def secret_key(content: bytes) -> bytes:
    """The key in a secret file: ``whsec_`` and base64, or raw bytes (without the last line end).

    InvalidInput if there is none.
    """
    import base64

    text = content.strip()
    if text.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(text[len(SECRET_PREFIX) :], validate=True)
        except ValueError:
            raise InvalidInput(
                "the secret after whsec_ is not base64", "write whsec_ and base64"
            ) from None
    else:
        key = content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise InvalidInput("the secret file is empty", "make one: openssl rand -base64 32")
    return key


def signature(key: bytes, message: str, timestamp: int, content: bytes) -> str:
    """The header ``webhook-signature``, as in Standard Webhooks. ``message``: its id."""
    import base64
    import hashlib
    import hmac

    signed = b".".join((message.encode(), str(timestamp).encode(), content))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
