"""Configuration: the keys, their types and ranges, and the source of each value.

A value comes from the environment (``QUEUECTL_`` and the key in capitals). If it is not there, it
comes from the store (``queuectl config set``), and otherwise from the defaults below.

Without ``from __future__ import annotations``, for the reason that ``model`` gives.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import InvalidInput, NotFound
from .text import clean_line, nearest
from .times import parse_duration, parse_size

MAX_RETRIES = 10_000
MAX_BACKOFF_BASE = 3600.0
MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years, the longest duration that any field or key accepts."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class Key(NamedTuple):
    """One configuration key. ``parse`` converts what a user typed into a value, or raises
    InvalidInput."""

    name: str
    default: Any
    parse: Callable[[str], Any]
    help: str


class Settings(NamedTuple):
    """The effective value of every key, in the units of :data:`KEYS`."""

    max_retries: int
    backoff_base: float
    backoff_max: float
    backoff_jitter: float
    timeout: float
    kill_grace: float
    lease: float
    max_crashes: int
    output_limit: int
    shell: str
    keep_completed: float
    keep_events: float
    log_level: str


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        word = text.strip()
        if re.fullmatch(r"[+-]?\d{1,18}", word) and low <= int(word) <= high:
            return int(word)
        raise InvalidInput(f"'{clean_line(text, 40)}' is not a whole number from {low} to {high}")

    return parse


def _decimal(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if "_" not in text and low <= number <= high:
            return number
        raise InvalidInput(f"'{clean_line(text, 40)}' is not a number from {low:g} to {high:g}")

    return parse


def _seconds(low: float, high: float = MAX_SECONDS) -> Callable[[str], float]:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if low <= seconds <= high:
            return seconds
        span = f"from {low:.15g} to {high:.15g} seconds"
        raise InvalidInput(f"'{clean_line(text, 40)}' is not {span}")

    return parse


MIN_OUTPUT, MAX_OUTPUT = 4 << 10, 1 << 40
"""The limits of ``output-limit``, in bytes."""


def _size(text: str) -> int:
    size = parse_size(text)
    if MIN_OUTPUT <= size <= MAX_OUTPUT:
        return size
    raise InvalidInput(
        f"'{clean_line(text, 40)}' is not a size from 4KiB to 1TiB", "write 512KiB, 10MiB or 1GiB"
    )


def _shell(text: str) -> str:
    if text.startswith("/") and not re.search(r"[\x00-\x20]", text) and len(text) < 1024:
        return text
    raise InvalidInput(f"'{clean_line(text, 40)}' is not the absolute path of a shell")


def _log_level(text: str) -> str:
    if text.lower() in LOG_LEVELS:
        return text.lower()
    raise InvalidInput(f"'{clean_line(text, 40)}' is not a log level", nearest(text, [*LOG_LEVELS]))


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key("max-retries", 3, _integer(0, MAX_RETRIES), "failed attempts until a job is dead"),
        Key("backoff-base", 2.0, _decimal(0, MAX_BACKOFF_BASE), "wait base ** attempts seconds"),
        Key("backoff-max", 3600.0, _seconds(0), "longest wait before a retry, seconds"),
        Key("backoff-jitter", 0.0, _decimal(0, 1), "lengthen waits by up to this fraction"),
        Key("timeout", 0.0, _seconds(0), "seconds a job may run, 0 for no limit"),
        Key("kill-grace", 10.0, _seconds(0, 3600), "seconds from SIGTERM to SIGKILL"),
        Key("lease", 30.0, _seconds(2, 60), "seconds until a silent supervisor is given up"),
        Key("max-crashes", 3, _integer(1, 1000), "crashes until a job is dead"),
        Key("output-limit", 10 << 20, _size, "bytes of output kept for each attempt"),
        Key("shell", "/bin/sh", _shell, "runs command strings, as SHELL -c COMMAND"),
        Key("keep-completed", 0.0, _seconds(0), "seconds to keep completed jobs, 0 for ever"),
        Key("keep-events", 30 * 86400.0, _seconds(0), "seconds to keep events, 0 for ever"),
        Key("log-level", "info", _log_level, "how much supervisors log"),
    )
}


def canonical(name: str) -> str:
    """The key for any of its spellings: ``default_max_retries`` is ``max-retries``.

    Raises NotFound, which names the most similar key.
    """
    word = name.strip().lower().replace("_", "-").removeprefix("default-")
    if word in KEYS:
        return word
    from .spellings import config_key  # needed only for an error message

    found, hint = config_key(name, KEYS)
    if found is not None:
        return found
    raise NotFound(f"no such config key: '{clean_line(name, 40)}'", hint)


def parse_value(key: str, text: str) -> Any:
    """The value of ``text`` for the canonical ``key``. InvalidInput names the key and the range."""
    try:
        return KEYS[key].parse(text)
    except InvalidInput as error:
        raise InvalidInput(f"{key}: {error.message}", error.hint) from None


def show_value(value: Any) -> str:
    """A value as ``config get`` prints it and ``config set`` accepts it."""
    if isinstance(value, float):
        # To the nanosecond, and without an exponent, which durations do not accept.
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)


class Setting(NamedTuple):
    """The effective value of a key, and its ``source``: ``default``, ``env`` or ``store``."""

    key: str
    value: Any
    source: str

    def to_json(self) -> dict[str, Any]:
        """The public form."""
        return {"key": self.key, "value": self.value, "source": self.source}


def env_name(key: str) -> str:
    """The environment variable that overrides ``key``."""
    return "QUEUECTL_" + key.upper().replace("-", "_")


def layers(stored: Mapping[str, str], env: Mapping[str, str]) -> dict[str, Setting]:
    """Every key with its effective value. InvalidInput if the environment has a bad value.

    If this version cannot read a stored value, because another version wrote it, the default
    applies. So a bad value does not stop everything.
    """
    result = {}
    for name, key in KEYS.items():
        setting = Setting(name, key.default, "default")
        if name in stored:
            try:
                setting = Setting(name, key.parse(stored[name]), "store")
            except InvalidInput:
                pass
        if value := env.get(env_name(name)):
            try:
                setting = Setting(name, key.parse(value), "env")
            except InvalidInput as error:
                raise InvalidInput(f"{env_name(name)}: {error.message}", error.hint) from None
        result[name] = setting
    return result


def settings(stored: Mapping[str, str], env: Mapping[str, str]) -> Settings:
    """The effective values with their types."""
    found = layers(stored, env)
    return Settings(*(found[name.replace("_", "-")].value for name in Settings._fields))
