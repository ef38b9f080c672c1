"""The forms for a new job, and for one that is edited: their fields, what these mean, and the
equivalent command line."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.jobspec import Defaults, check_field, parse_changes, parse_job
from queuectl_core.domain.model import Command, Job, plain_number
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time, parse_duration

from .actions import command_words
from .format import cli, command_text, on_lines, on_one_line


def as_number(text: str) -> Any:
    """A number; if it is not one, the text, and the check reports the error."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if math.isfinite(number) and number == int(number) else number


def as_env(text: str) -> dict[str, str]:
    """``A=1 B='two words'`` as a mapping."""
    return _pairs("env", text, "A=1 B='two words'")


def as_secrets(text: str) -> dict[str, str]:
    """``A=file:/path`` as a mapping."""
    return _pairs("secrets", text, "TOKEN=file:/run/secrets/token")


def _pairs(field: str, text: str, example: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}", f"write {example}") from None
    pairs = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise InvalidInput(f"{field}: '{clean_line(word, 40)}' is not NAME=VALUE")
        pairs[name] = value
    return pairs


def as_ids(text: str) -> list[str]:
    """``a, b`` or ``a b`` as a list of ids."""
    return text.replace(",", " ").split()


def as_flag(text: str) -> bool:
    """``yes`` or ``no``."""
    word = text.strip().lower()
    if word not in ("yes", "y", "true", "1", "no", "n", "false", "0"):
        raise InvalidInput(f"'{clean_line(text, 40)}' is neither yes nor no")
    return word in ("yes", "y", "true", "1")


def timeout_hint(defaults: Defaults) -> str:
    seconds = defaults.settings.timeout
    return f"{format_duration(seconds)}; 0: no limit" if seconds else "no limit; 30, 5m"


@dataclass(frozen=True, slots=True)
class Entry:
    """A field of the form. ``option`` is the command line's."""

    field: str
    option: str
    hint: Callable[[Defaults], str]
    read: Callable[[str], Any] = str


ENTRIES = (
    Entry("command", "", lambda d: f"run by {d.settings.shell} -c"),
    Entry("id", "--id", lambda d: "generated"),
    Entry("queue", "--queue", lambda d: "default"),
    Entry("priority", "--priority", lambda d: "0, higher first", as_number),
    Entry("run_at", "--run-at", lambda d: "now; +10s, +5m, 2026-01-31T09:00"),
    Entry("max_retries", "--max-retries", lambda d: str(d.settings.max_retries), as_number),
    Entry("backoff_base", "--backoff-base", lambda d: f"{d.settings.backoff_base:g}", as_number),
    Entry("timeout_seconds", "--timeout", timeout_hint, parse_duration),
    Entry("cwd", "--cwd", lambda d: d.cwd),
    Entry("env", "--env", lambda d: "A=1 B='two words'", as_env),
    Entry("nice", "--nice", lambda d: "0; to 19, the most polite", as_number),
    Entry("memory_limit", "--memory-limit", lambda d: "none; 512MiB"),
    Entry("cpu_seconds", "--cpu-seconds", lambda d: "no limit; 30, 5m", parse_duration),
    Entry("output_limit", "--output-limit", lambda d: f"{format_bytes(d.settings.output_limit)}iB"),
    Entry("key", "--key", lambda d: "none; jobs with the same key run one at a time"),
    Entry("unique", "--unique", lambda d: "none; at most one job holds this value"),
    Entry("unique_until", "--unique-until", lambda d: "end; start"),
    Entry("unique_for", "--unique-for", lambda d: "instead of that: 30m, 24h", parse_duration),
    Entry("after", "--after", lambda d: "ids of jobs that must complete first", as_ids),
    Entry("after_any", "--after-any", lambda d: "ids of jobs that must end first", as_ids),
    Entry("after_failed", "--after-failed", lambda d: "ids of jobs that must fail first", as_ids),
    Entry("on_parent_failure", "--on-parent-failure", lambda d: "cancel; hold"),
    Entry("hold", "--hold", lambda d: "no; yes: wait until it is released", as_flag),
    Entry("stdin", "--stdin", lambda d: "none; a text that it reads", on_lines),
    Entry("secrets", "--secret", lambda d: "TOKEN=file:/run/secrets/token", as_secrets),
)
"""The fields of a new job."""

EDIT_ENTRIES = (
    Entry("command", "--command", lambda d: f"run by {d.settings.shell} -c"),
    Entry("priority", "--priority", lambda d: "higher first", as_number),
    Entry("run_at", "--run-at", lambda d: "now; +10s, +5m, 2026-01-31T09:00"),
    Entry("queue", "--queue", lambda d: "a name"),
    Entry("timeout_seconds", "--timeout", lambda d: "0: no limit; 30, 5m", parse_duration),
    Entry("max_retries", "--max-retries", lambda d: "a number", as_number),
    Entry("key", "--key", lambda d: "none; jobs with the same key run one at a time"),
)
"""The fields of a job that can be changed."""

EDITABLE = 4_000
"""Characters of a command that fit an edit line."""


def field_texts(job: Job) -> dict[str, str]:
    """The fields of a job as they are edited, by name. Without the command if it does not fit one
    line."""
    command = command_text(job.command)
    shown = on_one_line(command) if len(command) <= EDITABLE else None
    texts = {
        "command": shown or "",
        "priority": str(job.priority),
        "run_at": format_time(job.run_at) or "",
        "queue": job.queue,
        "timeout_seconds": str(plain_number(job.timeout_seconds)),
        "max_retries": str(job.max_retries),
        "key": job.key or "",
    }
    return texts if shown else {name: text for name, text in texts.items() if name != "command"}


def changes_of(job: Job, texts: Mapping[str, str], defaults: Defaults) -> dict[str, Any]:
    """The fields whose texts are no longer those of ``job``, as ``Queue.edit`` takes them.
    InvalidInput for the first that is wrong."""
    before = field_texts(job)
    given: dict[str, Any] = {}
    for entry in EDIT_ENTRIES:
        text = texts.get(entry.field, "")
        if entry.field not in before or text == on_lines(before[entry.field]):
            continue
        if entry.field == "key" and not text:
            given["key"] = None
        elif entry.field == "command":
            given["command"] = _command(text, job, defaults)
        else:
            given[entry.field] = entry.read(text)
    return given if parse_changes(given, defaults) else {}


def _command(text: str, job: Job, defaults: Defaults) -> Command:
    """The command that was typed; words if it is one without a shell."""
    text = on_lines(text)
    check_field("command", text, defaults)
    if isinstance(job.command, str):
        return text
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidInput(f"command: {error}") from None


def job_of(texts: Mapping[str, str], defaults: Defaults) -> dict[str, Any]:
    """The fields of a job, from the texts of the form. InvalidInput for the first that is wrong."""
    given: dict[str, Any] = {}
    for entry in ENTRIES:
        text = texts.get(entry.field, "")
        if text.strip():
            value = entry.read(text)
            check_field(entry.field, value, defaults)
            given[entry.field] = value
    parse_job(given, defaults)
    return given


def command_line_of(texts: Mapping[str, str]) -> str:
    words = ["enqueue"]
    for entry in ENTRIES:
        text = texts.get(entry.field, "").strip()
        if entry.field in ("env", "secrets"):
            for name, value in (entry.read(text) if text else {}).items():
                words += [entry.option, f"{name}={value}"]
        elif entry.field == "stdin":
            words += [entry.option, "FILE"] if text else []
        elif entry.read is as_flag:
            words += [entry.option] if text and as_flag(text) else []
        elif entry.read is as_ids:
            words += [entry.option, ",".join(as_ids(text))] if text else []
        elif text and entry.option:
            words += [entry.option, text]
    return cli(*words, *command_words(texts.get("command", "").strip()))
