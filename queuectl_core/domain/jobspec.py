"""Checking the input of ``enqueue`` field by field: a mapping becomes a :class:`JobSpec`.

Every front end uses :func:`parse_job`, so a form, a JSON line and an option give the same errors.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .config import MAX_BACKOFF_BASE, MAX_OUTPUT, MAX_RETRIES, MAX_SECONDS, MIN_OUTPUT, Settings
from .errors import InvalidInput
from .model import MASK, Command, JobSpec, plain_number
from .text import clean_line
from .times import format_bytes, parse_duration, parse_size, parse_time

ID = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
ID_RULE = "use 1 to 128 of A-Z a-z 0-9 . _ : @ -, starting with a letter or digit"
MAX_ARGUMENT = 131_071
"""Bytes. The longest argument or environment entry that execve accepts on Linux (MAX_ARG_STRLEN, 32
pages, without the final NUL)."""
MAX_ARGV = 1 << 20
"""Bytes for a whole argv or environment. It is below ARG_MAX of all common systems."""
MAX_PRIORITY = 1_000_000
ON_CONFLICT = ("existing", "replace", "fail")
"""What ``enqueue`` may do if another job holds the unique value; the first is the default."""
MAX_KEY = 512
"""Bytes of ``key`` and ``unique``."""
MAX_STDIN = 1 << 20
"""Bytes of ``stdin`` as UTF-8."""
VARIABLE_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
OWN_VARIABLES = "QUEUECTL_"
"""How the names of variables begin that queuectl sets for an attempt."""
MIN_MEMORY, MAX_MEMORY = 1 << 20, 1 << 50
"""Bytes. With less, not even a shell starts. No machine has more."""

ALIASES = {"timeout": "timeout_seconds"}
"""Other names of fields. :func:`field_name` also accepts spellings with ``-`` and in camelCase."""
OUTPUT_FIELDS = frozenset(
    (
        "state",
        "attempts",
        "crashes",
        "created_at",
        "updated_at",
        "started_at",
        "finished_at",
        "exit_code",
        "last_error",
        "worker",
        "progress",
        "progress_text",
        "result",
        "cause",
        "schedule",
        "scheduled_at",
        "existing",
        "history",
    )
)


class Defaults(NamedTuple):
    """Values for the fields that a job does not give."""

    settings: Settings
    cwd: str
    now: float


def parse_job(source: Any, defaults: Defaults) -> tuple[JobSpec, list[str]]:
    """The job that ``source`` describes, and the names of output fields that were ignored.

    ``source`` is a mapping of input fields, or a command string. Raises InvalidInput with one line
    that names the field.
    """
    if isinstance(source, str):
        source = {"command": source}
    if not isinstance(source, (dict, Mapping)):  # nearly always a dict, which is a fast check
        raise InvalidInput(f"a job is a JSON object, not {_kind(source)}")
    given: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in source.items():
        field = name if name in _PARSERS else field_name(name)
        if field in _PARSERS:
            if field in given:
                raise InvalidInput(f"field '{field}' is given twice")
            given[field] = value
        elif field in OUTPUT_FIELDS:
            ignored.append(field)
        else:
            from .spellings import field_hint

            raise InvalidInput(
                f"unknown field '{clean_line(str(name), 40)}'",
                field_hint(name, KNOWN),
            )
    if "command" not in given:
        raise InvalidInput("command is missing", "give what to run")
    conf = defaults.settings
    # Only one dictionary, because a bulk enqueue calls this a hundred thousand times.
    fields: dict[str, Any] = {
        "id": None,
        "max_retries": conf.max_retries,
        "backoff_base": conf.backoff_base,
        "priority": 0,
        "run_at": defaults.now,
        "timeout_seconds": conf.timeout,
        "cwd": defaults.cwd,
        "env": {},
        "queue": "default",
    }
    for field, value in given.items():
        if value is not None or field not in _NULLABLE:
            fields[field] = _PARSERS[field](value, defaults)
    if not fields["cwd"]:
        _here(defaults)
    if not _TOGETHER.isdisjoint(given):
        _check_unique(fields)
        _check_names(fields)
    return JobSpec(**fields), ignored


def _check_unique(fields: Mapping[str, Any]) -> None:
    if fields.get("unique") is None:
        for name in ("unique_until", "unique_for"):
            if fields.get(name):
                raise InvalidInput(f"{name} needs a unique value", "give unique too")
    elif fields.get("unique_for") and "unique_until" in fields:
        raise InvalidInput("unique_for and unique_until exclude each other", "give one of them")


def _check_names(fields: Mapping[str, Any]) -> None:
    for name in fields.get("secrets", ()):
        if name in fields["env"]:
            raise InvalidInput(
                f"'{name}' is in env and in secrets", "an attempt can have one value of it only"
            )


def parse_changes(given: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The changes of an edit, by field. ``key`` may be None: the job gets no key.

    Raises InvalidInput with one line that names the field.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        field = field_name(name)
        if field not in EDITABLE_FIELDS:
            shown = clean_line(str(name), 40)
            raise InvalidInput(f"'{shown}' cannot be edited", f"only {', '.join(EDITABLE_FIELDS)}")
        if field in found:
            raise InvalidInput(f"field '{field}' is given twice")
        if value is None and field == "key":
            found[field] = None
        else:
            found[field] = _PARSERS[field](value, defaults)
    return found


def field_name(name: str) -> str:
    """The field that ``name`` means, in any of its spellings: ``max-retries`` and ``maxRetries``
    are ``max_retries``. A name that means no field is returned as it is."""
    field = ALIASES.get(name, name)
    if field in _PARSERS or field in OUTPUT_FIELDS or not isinstance(name, str):
        return field
    snake = re.sub(_CAPITAL, r"_\g<0>", name).lower().replace("-", "_")
    snake = ALIASES.get(snake, snake)
    return snake if snake in _PARSERS or snake in OUTPUT_FIELDS else name


_CAPITAL = r"(?<=[a-z])[A-Z]"


def check_field(field: str, value: Any, defaults: Defaults) -> None:
    """Raise InvalidInput if ``value`` is not valid for ``field``. For forms, while a person
    types."""
    _PARSERS[field](value, defaults)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "an array" if isinstance(value, (list, tuple)) else "an object"


def check_text(field: str, value: Any, limit: int = MAX_ARGUMENT) -> str:
    """``value`` if it is text that a process can receive. InvalidInput names ``field``."""
    if not isinstance(value, str):
        raise InvalidInput(f"{field} must be text, not {_kind(value)}")
    if "\0" in value:
        raise InvalidInput(f"{field} contains a NUL byte")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{field} is not valid UTF-8 text") from None
    if size > limit:
        raise InvalidInput(
            f"{field} is {size:,} bytes, the limit is {limit:,}", "put it in a file and run that"
        )
    return value


def _command(value: Any, _: Defaults) -> Command:
    if isinstance(value, (list, tuple)):
        if not value:
            raise InvalidInput("command is an empty list", "give what to run")
        argv = tuple(check_text("command", part) for part in value)
        if not argv[0].strip():
            raise InvalidInput("command is empty", "give what to run")
        if sum(len(part.encode()) + 1 for part in argv) > MAX_ARGV:
            raise InvalidInput(f"command is longer than {MAX_ARGV:,} bytes")
        return argv
    if not isinstance(value, str):
        raise InvalidInput(f"command must be text or a list of texts, not {_kind(value)}")
    if not value.strip():
        raise InvalidInput("command is empty", "give what to run")
    return check_text("command", value)


def _id(value: Any, _: Defaults) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"id must be text, not {_kind(value)}")
    if not re.fullmatch(ID, value):
        shown = clean_line(value, 40)
        raise InvalidInput(
            f"id '{shown}' is not allowed",
            ID_RULE,
        )
    return value


def _queue(value: Any, _: Defaults) -> str:
    return check_queue(value)


def check_queue(value: Any) -> str:
    """``value`` if it is a valid name for a queue (as for ids); InvalidInput otherwise."""
    if not isinstance(value, str) or not re.fullmatch(ID, value):
        shown = clean_line(str(value), 40)
        raise InvalidInput(f"queue '{shown}' is not allowed", ID_RULE)
    return value


def _number(
    field: str, low: float, high: float, whole: bool
) -> Callable[[Any, Defaults], int | float]:
    kind = "a whole number" if whole else "a number"
    span = f"from {plain_number(low)} to {plain_number(high)}"

    def parse(value: Any, _: Defaults) -> int | float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good:
            hint = ""
            if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.\d{1,9})?", value):
                hint = f"write {value} without quotes"
            raise InvalidInput(f"{field} must be {kind}, not {_kind(value)}", hint)
        if math.isfinite(value) and low <= value <= high:
            if not whole:
                return float(value)
            if value == int(value):
                return int(value)
        shown = clean_line(f"{value:g}" if isinstance(value, float) else str(value), 30)
        raise InvalidInput(f"{field} must be {kind} {span}, not {shown}")

    def guarded(value: Any, defaults: Defaults) -> int | float:
        try:
            return parse(value, defaults)
        except (OverflowError, ValueError):  # an integer that is too large for float or str()
            if isinstance(value, int):
                raise InvalidInput(f"{field} must be {kind} {span}") from None
            raise

    return guarded


def _seconds(field: str, high: float, whole: bool) -> Callable[[Any, Defaults], int | float]:
    """A number of seconds, or a duration like ``"5m"``."""
    number = _number(field, 0, high, whole)

    def parse(value: Any, defaults: Defaults) -> int | float:
        if isinstance(value, str):
            try:
                value = parse_duration(value)
            except InvalidInput as error:
                raise InvalidInput(f"{field}: {error.message}", error.hint) from None
        return number(value, defaults)

    return parse


def _size(field: str, low: int, high: int) -> Callable[[Any, Defaults], int]:
    span = f"{field} must be a size from {format_bytes(low)} to {format_bytes(high)}, or 0 for none"

    def parse(value: Any, _: Defaults) -> int:
        if isinstance(value, str):
            try:
                value = parse_size(value)
            except InvalidInput as error:
                raise InvalidInput(f"{field}: {error.message}", error.hint) from None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidInput(f"{field} must be a size, not {_kind(value)}")
        if not (value == 0 or low <= value <= high) or value != int(value):
            raise InvalidInput(span, "write bytes, or 512MiB")
        return int(value)

    return parse


def _run_at(value: Any, defaults: Defaults) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidInput(f"run_at must be a time, not {_kind(value)}")
    try:
        return parse_time(value, defaults.now)
    except InvalidInput as error:
        raise InvalidInput(f"run_at: {error.message}", error.hint) from None
    except OverflowError:
        raise InvalidInput("run_at: time out of range", "1970 to 2100, in seconds") from None


def _short(field: str) -> Callable[[Any, Defaults], str]:
    """A text of one line with up to :data:`MAX_KEY` bytes."""

    def parse(value: Any, _: Defaults) -> str:
        text = check_text(field, value, MAX_KEY)
        if not text or text != clean_line(text, MAX_KEY):
            raise InvalidInput(f"{field} must be a line of text without control characters")
        return text

    return parse


def _choice(field: str, *words: str) -> Callable[[Any, Defaults], str]:
    def parse(value: Any, _: Defaults) -> str:
        if value in words:
            return str(value)
        shown = clean_line(str(value), 40)
        raise InvalidInput(f"{field} must be {' or '.join(words)}, not '{shown}'")

    return parse


def _parents(field: str) -> Callable[[Any, Defaults], tuple[str, ...]]:
    def parse(value: Any, defaults: Defaults) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise InvalidInput(f"{field} must be a list of ids, not {_kind(value)}")
        try:
            return tuple(dict.fromkeys(_id(one, defaults) for one in value))
        except InvalidInput as error:
            raise InvalidInput(f"{field}: {error.message}", error.hint) from None

    return parse


def _bool(field: str) -> Callable[[Any, Defaults], bool]:
    def parse(value: Any, _: Defaults) -> bool:
        if not isinstance(value, bool):
            raise InvalidInput(f"{field} must be true or false, not {_kind(value)}")
        return value

    return parse


def _cwd(value: Any, defaults: Defaults) -> str:
    text = check_text("cwd", value, 4095)
    if not text:
        raise InvalidInput("cwd is empty", "leave it out for the current directory")
    return os.path.normpath(text if text.startswith("/") else os.path.join(_here(defaults), text))


def _here(defaults: Defaults) -> str:
    """The caller's directory, to which relative paths refer."""
    if not defaults.cwd:
        raise InvalidInput("the current directory is gone", "go to another, or give a full cwd")
    return defaults.cwd


def _env(value: Any, _: Defaults) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"env must be an object of texts, not {_kind(value)}")
    total = 0
    for name, content in value.items():
        check_text("env", name)
        shown = clean_line(name, 40)
        if not name or "=" in name:
            raise InvalidInput(f"env name '{shown}' is not allowed", "it must not hold '='")
        check_text(f"env {shown}", content, MAX_ARGUMENT - len(name.encode()) - 1)
        if content == MASK:
            raise InvalidInput(
                f"env {shown} is masked ({MASK})", "export jobs with: list --json --show-env"
            )
        total += len(name.encode()) + len(content.encode()) + 2
    if total > MAX_ARGV:
        raise InvalidInput(f"env is longer than {MAX_ARGV:,} bytes")
    return dict(value)


def _stdin(value: Any, _: Defaults) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"stdin must be text, not {_kind(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput("stdin is not valid UTF-8 text") from None
    if size > MAX_STDIN:
        raise InvalidInput(
            f"stdin is {size:,} bytes, the limit is {MAX_STDIN:,}",
            "put it in a file, and have the command read that",
        )
    return value


def _secrets(value: Any, defaults: Defaults) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"secrets must be an object of texts, not {_kind(value)}")
    found: dict[str, str] = {}
    for name, reference in value.items():
        shown = clean_line(str(name), 40)
        if not re.fullmatch(VARIABLE_NAME, name):
            raise InvalidInput(
                f"secrets: '{shown}' is not the name of a variable",
                "use A-Z a-z 0-9 _, and begin with a letter or _",
            )
        if name.startswith(OWN_VARIABLES):
            raise InvalidInput(f"secrets: '{shown}' is set by queuectl itself", "use another name")
        text = check_text(f"secrets {shown}", reference, 4095 + len("file:"))
        kind, _, path = text.partition(":")
        if kind != "file" or not path:
            raise InvalidInput(
                f"secrets {shown} must be file:PATH",
                "only the reference is stored; the value is read when an attempt starts",
            )
        if path == "~" or path.startswith("~/"):
            raise InvalidInput(f"secrets {shown}: ~ is not replaced", "write the whole path")
        if not path.startswith("/"):
            path = os.path.normpath(os.path.join(_here(defaults), path))
        found[name] = f"file:{path}"
    if sum(len(name) + len(text.encode()) + 2 for name, text in found.items()) > MAX_ARGV:
        raise InvalidInput(f"secrets are longer than {MAX_ARGV:,} bytes")
    return found


_PARSERS: dict[str, Callable[[Any, Defaults], Any]] = {
    "id": _id,
    "command": _command,
    "max_retries": _number("max_retries", 0, MAX_RETRIES, whole=True),
    "backoff_base": _number("backoff_base", 0, MAX_BACKOFF_BASE, whole=False),
    "priority": _number("priority", -MAX_PRIORITY, MAX_PRIORITY, whole=True),
    "run_at": _run_at,
    "timeout_seconds": _seconds("timeout_seconds", MAX_SECONDS, whole=False),
    "cwd": _cwd,
    "env": _env,
    "queue": _queue,
    "nice": _number("nice", 0, 19, whole=True),
    "memory_limit": _size("memory_limit", MIN_MEMORY, MAX_MEMORY),
    "cpu_seconds": _seconds("cpu_seconds", MAX_SECONDS, whole=True),
    "output_limit": _size("output_limit", MIN_OUTPUT, MAX_OUTPUT),
    "key": _short("key"),
    "unique": _short("unique"),
    "unique_until": _choice("unique_until", "start", "end"),
    "unique_for": _seconds("unique_for", MAX_SECONDS, whole=False),
    "after": _parents("after"),
    "after_any": _parents("after_any"),
    "after_failed": _parents("after_failed"),
    "on_parent_failure": _choice("on_parent_failure", "cancel", "hold"),
    "hold": _bool("hold"),
    "stdin": _stdin,
    "secrets": _secrets,
}
INPUT_FIELDS = tuple(_PARSERS)
EDITABLE_FIELDS = (
    *("command", "priority", "run_at", "queue", "timeout_seconds", "max_retries", "key"),
)
"""The fields that can be changed after enqueue, while the job does not run."""
_TOGETHER = frozenset(("unique", "unique_until", "unique_for", "secrets"))
"""Fields whose values must fit those of others."""
KNOWN = (*INPUT_FIELDS, *ALIASES)
_NULLABLE = frozenset(_PARSERS) - {"command"}
"""``null`` means: not given."""
