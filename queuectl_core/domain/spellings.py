"""Words of other programs for states, fields and settings, and hints for them.

Imported only when a word is unknown. It is looked up first by meaning, then by spelling.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from .text import clean_line, closest, nearest

_STATES = {
    "pending": ("queued", "queue", "ready", "scheduled", "new", "delayed"),
    "waiting": ("held", "hold", "on-hold", "blocked", "suspended", "paused"),
    "processing": ("running", "active", "busy", "started", "in-progress", "in_progress", "locked"),
    "completed": ("done", "finished", "success", "succeeded", "successful", "ok", "complete"),
    "failed": ("error", "errored", "fail", "failure", "retrying"),
    "dead": ("dlq", "dead-letter", "dead_letter", "exhausted"),
    "cancelled": ("cancel", "canceling", "aborted", "killed"),
}

_FIELDS = {
    "id": ("name", "job_id", "jobid"),
    "command": ("cmd", "run", "shell", "script", "exec", "task", "job", "payload"),
    "max_retries": ("retries", "retry", "max_attempts", "retry_limit", "maxretry", "max_retry"),
    "backoff_base": ("backoff", "retry_delay", "delay_base"),
    "priority": ("prio",),
    "run_at": ("at", "when", "schedule", "scheduled_at", "scheduled_for", "start_at", "eta"),
    "timeout_seconds": ("timeout_s", "time_limit", "job_timeout", "max_runtime"),
    "cwd": ("dir", "directory", "workdir", "working_dir", "working_directory"),
    "env": ("environment", "variables", "vars"),
    "memory_limit": ("memory", "mem", "max_memory"),
    "key": ("concurrency_key", "group", "lock", "mutex"),
    "unique": ("unique_key", "idempotency_key", "dedupe", "dedup"),
    "after": ("depends_on", "dependencies", "depends", "needs", "parents", "requires"),
    "hold": ("held", "paused", "suspended"),
}

_KEYS = {
    "max-retries": ("max-retries-default", "retry-limit", "max-attempts"),
    "timeout": ("job-timeout", "timeout-seconds", "job-timeout-seconds", "timeout-s"),
    "backoff-max": ("backoff-max-delay", "max-backoff", "max-delay", "max-delay-seconds"),
    "lease": ("lease-seconds", "lease-timeout", "stale-lock-seconds", "worker-timeout"),
}
"""These are accepted as the key, because nothing else can be meant."""

_KEY_HINTS = {
    "retries": "did you mean max-retries?",
    "max-retry": "did you mean max-retries?",
    "retry": "did you mean max-retries?",
    "retry-delay": "did you mean backoff-base?",
    "lock-timeout": "did you mean lease?",
    "lock-timeout-seconds": "did you mean lease?",
    "priority": "give it to each job: queuectl enqueue --priority N",
    "backoff": "did you mean backoff-base?",
    "concurrency": "say it when they start: queuectl worker start --count N",
    "workers": "say it when they start: queuectl worker start --count N",
    "worker-count": "say it when they start: queuectl worker start --count N",
    "db": "name the store with --store PATH or QUEUECTL_STORE",
    "db-path": "name the store with --store PATH or QUEUECTL_STORE",
    "store": "name the store with --store PATH or QUEUECTL_STORE",
}

POLLING = "not needed: workers are woken as soon as a job is due"
_POLL = re.compile(r"(?:worker-)?poll(?:ing)?(?:-interval)?(?:-(?:ms|s|seconds))?")


def meant(word: str, table: dict[str, tuple[str, ...]]) -> str | None:
    """The entry of ``table`` that lists ``word``."""
    return next((name for name, words in table.items() if word in words), None)


def _hint(word: str, known: Sequence[str], table: dict[str, tuple[str, ...]]) -> str:
    """A hint with the known word that ``word`` means or misspells, or with all known words."""
    others = {other: name for name, words in table.items() for other in words}
    found = others.get(word) or closest(word, [*known, *others])
    return f"did you mean {others.get(found, found)}?" if found else nearest(word, known)


def state_hint(word: str) -> str:
    """The hint for an unknown state."""
    if word == "all":
        return "all jobs are listed without --state"
    return _hint(word, list(_STATES), _STATES)


def field_hint(name: str, known: Sequence[str]) -> str:
    """The hint for an unknown field."""
    word = str(name)[:100].lower().replace("-", "_")
    if word in ("delay", "delay_seconds", "delay_ms"):
        return 'write "run_at": "+10s"'
    return _hint(word, known, _FIELDS)


def is_polling(name: str) -> bool:
    """Whether this names a polling interval, which other queues need."""
    return bool(_POLL.fullmatch(_dashes(name)))


def config_key(name: str, known: Collection[str]) -> tuple[str | None, str]:
    """The known key that ``name`` means, or None and a hint."""
    word = _dashes(name).removeprefix("default-").removesuffix("-default")
    if word in known:
        return word, ""
    if found := meant(word, _KEYS):
        return found, ""
    if is_polling(name):
        return None, POLLING
    seconds = word.removesuffix("-ms").removeprefix("job-")
    if seconds != word and seconds in known:
        return None, f"did you mean {seconds}? it is in seconds"
    if "=" in word and word.partition("=")[0] in known:
        key, _, value = word.partition("=")
        return None, f"type: queuectl config set {key} {clean_line(value, 40)}"
    return None, _KEY_HINTS.get(word) or _hint(word, list(known), _KEYS)


def _dashes(name: str) -> str:
    """``maxRetries`` and ``MAX_RETRIES`` as ``max-retries``."""
    return re.sub(r"(?<=[a-z])[A-Z]", r"-\g<0>", name.strip()[:100]).lower().replace("_", "-")
