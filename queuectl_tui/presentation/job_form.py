"""The form for a new job: its fields, what they mean, and the equivalent command line."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.jobspec import Defaults, check_field, parse_job
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, parse_duration

from .actions import command_words
from .format import cli


def as_number(text: str) -> Any:
    """A number; if it is not one, the text, and the check reports the error."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if math.isfinite(number) and number == int(number) else number


def as_env(text: str) -> dict[str, str]:
    """``A=1 B='two words'`` as a mapping."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"env: {error}", "write A=1 B='two words'") from None
    pairs = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise InvalidInput(f"env: '{clean_line(word, 40)}' is not NAME=VALUE")
        pairs[name] = value
    return pairs


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
)


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
        if entry.field == "env" and text:
            for name, value in as_env(text).items():
                words += ["--env", f"{name}={value}"]
        elif text and entry.option:
            words += [entry.option, text]
    return cli(*words, *command_words(texts.get("command", "").strip()))
