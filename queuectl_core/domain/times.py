"""Times, durations and sizes as people write them, and as queuectl prints them.

Inside queuectl a time is seconds since the epoch (UTC, float) and a duration is seconds.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from .errors import InvalidInput
from .text import clean_line

LATEST = 4102444800.0
"""2100-01-01. A later time is a mistake, most often milliseconds."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = (
    r"(\d+(?:\.\d+)?)(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?)"
    r"(?![a-z])"
)
_NUMBER = r"\d+(?:\.\d+)?"


def parse_duration(text: str) -> float:
    """Seconds in ``90``, ``1.5``, ``10s``, ``5m``, ``2h``, ``1d`` or ``1h30m``.

    Raises InvalidInput for everything else, and for negative numbers.
    """
    word = text.strip().lower()
    if len(word) <= 32:
        if re.fullmatch(_NUMBER, word):
            return float(word)
        parts = re.findall(_PART, word)
        if parts and "".join(number + unit for number, unit in parts) == word:
            return sum(
                float(number) * _UNITS[unit if unit == "ms" else unit[0]] for number, unit in parts
            )
    raise InvalidInput(f"not a duration: '{clean_line(text, 40)}'", "write 10s, 5m, 2h or 1h30m")


def parse_time(value: str | float, now: float) -> float:
    """Epoch seconds for ISO 8601, epoch seconds, ``+10s`` from ``now``, ``now``, ``HH:MM``,
    ``2pm``, ``today HH:MM`` or ``tomorrow HH:MM``.

    A time without a zone is local time. A time without a day is the next such time. Raises
    InvalidInput for everything else, and for times outside 1970 to 2100.
    """
    if isinstance(value, str):
        moment = _parse_time_text(value.strip(), now)
    else:
        moment = float(value)
        _refuse_bare_date(str(value))
    if not 0.0 <= moment <= LATEST:  # NaN fails this too
        hint = "1970 to 2100, in seconds"
        if LATEST < moment <= LATEST * 1000 and re.fullmatch(_NUMBER, str(value).strip()):
            hint = f"that is in milliseconds; in seconds it is {moment / 1000:.0f}"
        raise InvalidInput(f"time out of range: {clean_line(str(value), 40)}", hint)
    return moment


def _parse_time_text(text: str, now: float) -> float:
    if text.startswith("+"):
        return now + parse_duration(text[1:])
    if len(text) <= 32 and re.fullmatch(_NUMBER, text):
        _refuse_bare_date(text)
        return float(text)
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.timestamp()  # naive: Python reads it as local time
    except (ValueError, OverflowError, OSError):
        pass
    moment = _time_of_day(text.lower(), now) if len(text) <= 32 else None
    if moment is None:
        raise InvalidInput(f"not a time: '{clean_line(text, 40)}'", _time_hint(text))
    return moment


# Compiled when they are used, because most verbs read no such time.
_DATE = r"((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"


def _refuse_bare_date(text: str) -> None:
    """InvalidInput for ``20270328``: as epoch seconds it would be a day in 1970."""
    if date := re.fullmatch(_DATE, text, re.ASCII):
        raise InvalidInput(
            f"not clear: {text} could be a date or epoch seconds",
            f"write {'-'.join(date.groups())}",
        )


_OF_DAY = r"(?:(today|tomorrow)\s+)?(\d{1,2})(?::([0-5]\d))?(?::([0-5]\d))?\s*(am|pm)?"


def _time_of_day(text: str, now: float) -> float | None:
    """Epoch seconds for ``now``, ``9:00``, ``2pm``, ``today 9:00``, ``tomorrow 9:00``."""
    if text == "now":
        return now
    match = re.fullmatch(_OF_DAY, text, re.ASCII)
    if match is None or not (match[3] or match[5]):
        return None
    day, hour, half = match[1], int(match[2]), match[5]
    if not (1 <= hour <= 12 if half else hour < 24):
        return None
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    here = datetime.fromtimestamp(now)
    found = here.replace(
        hour=hour, minute=int(match[3] or 0), second=int(match[4] or 0), microsecond=0
    )
    # A calendar day, not 24 hours, because daylight saving time may begin or end.
    if day == "tomorrow" or (day is None and found.timestamp() < now):
        found += timedelta(days=1)
    return found.timestamp()


def _time_hint(text: str) -> str:
    word = text.strip().lower().removeprefix("in ")
    try:
        parse_duration(word)
        return f"did you mean +{word}?"
    except InvalidInput:
        pass
    if word in ("today", "tomorrow"):
        return f"write {word} 09:00"
    return "write 2026-01-31T09:00:00Z, 09:00, tomorrow 09:00, epoch seconds, or +10s, +5m, +2h"


def is_local(value: object) -> bool:
    """Whether :func:`parse_time` reads this value as local time."""
    if not isinstance(value, str):
        return False
    text = value.strip()
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return bool(re.fullmatch(_OF_DAY, text.lower(), re.ASCII)) and not re.fullmatch(
            _NUMBER, text
        )


def format_time(moment: float | None) -> str | None:
    """``2026-01-31T09:00:00.123Z``, or None for None."""
    if moment is None:
        return None
    whole = math.floor(moment)
    micro = round((moment - whole) * 1e6)
    if micro == 1_000_000:
        whole, micro = whole + 1, 0
    return f"{_format_second(whole)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    # Cached, because logs and lists show many moments within the same few seconds.
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def format_duration(seconds: float) -> str:
    """A duration for people, at most seven characters: ``12ms``, ``3.4s``, ``2m05s``, ``3d04h``."""
    if seconds < 0:
        seconds = 0.0
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    if whole < 86400_000:
        return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
    return f"{whole // 86400}d"


_SIZE = r"(?ia)(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?"
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes in ``4096``, ``512KiB``, ``1.5M`` or ``2GB``: units are always binary.

    Raises InvalidInput for anything else.
    """
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise InvalidInput(f"not a size: '{clean_line(text, 40)}'", "write 512KiB, 10MiB or 1GiB")
    return int(float(match[1]) * _SCALE[match[2].lower()])


def format_bytes(count: float) -> str:
    """A size for people in binary units: ``512B``, ``4.0K``, ``1.5M``, ``2.0G``."""
    for unit in ("B", "K", "M", "G"):
        if count < 1024:
            return f"{count:.0f}{unit}" if unit == "B" or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.1f}T"
