"""Checking the settings of a queue: ``limit``, ``per_host``, ``per_key`` and ``rate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config import MAX_SECONDS
from .errors import InvalidInput
from .model import Rate
from .text import clean_line
from .times import parse_duration

FIELDS = ("limit", "per_host", "per_key", "rate")
MAX_LIMIT = 1_000_000
LOWEST = {"limit": 0, "per_host": 0, "per_key": 1}


def parse_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a queue by field, from numbers or text. ``none`` and None take a limit away.

    Raises InvalidInput with one line that names the field.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        field = name.replace("-", "_")
        if field not in FIELDS:
            shown = clean_line(str(name), 40)
            raise InvalidInput(f"unknown setting '{shown}' of a queue", f"use {', '.join(FIELDS)}")
        if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
            found[field] = None
        else:
            found[field] = _rate(value) if field == "rate" else _limit(field, value)
    return found


def _limit(field: str, value: Any) -> int:
    low, option = LOWEST[field], field.replace("_", "-")
    shown = clean_line(str(value), 30)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value) if len(value) < 20 else MAX_LIMIT + 1
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_LIMIT:
        raise InvalidInput(
            f"{option} must be a whole number from {low} to {MAX_LIMIT:,}, or none; not '{shown}'"
        )
    return value


def _rate(value: Any) -> Rate:
    shown = clean_line(str(value), 30)
    wrong = InvalidInput(f"'{shown}' is not a rate", "write starts per period, such as 60/1m")
    if not isinstance(value, str):
        raise wrong
    count, slash, period = value.partition("/")
    if not slash or not (count.strip().isascii() and count.strip().isdigit()):
        raise wrong
    period = period.strip()
    if period and period[0].isalpha():
        period = f"1{period}"  # 60/m
    try:
        seconds = parse_duration(period)
    except InvalidInput:
        raise wrong from None
    if len(count) > 9 or not 1 <= int(count) <= MAX_LIMIT or not 1 <= seconds <= MAX_SECONDS:
        raise InvalidInput(
            f"the rate '{shown}' is out of range", f"1 to {MAX_LIMIT:,} starts in 1 second or more"
        )
    return Rate(int(count), seconds)
