"""Values of options that several verbs take."""

from __future__ import annotations

from queuectl_core.domain.config import MAX_SECONDS
from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import parse_duration


def duration(option: str, text: str) -> float:
    """Seconds in ``text``; InvalidInput names the option."""
    try:
        seconds = parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error.message}", error.hint) from None
    if seconds > MAX_SECONDS:
        raise InvalidInput(f"{option}: longer than ten years")
    return seconds


def age(option: str, text: str) -> float:
    """Seconds in ``text``. A number without a unit is refused, as few people mean seconds here."""
    seconds = duration(option, text)
    word = text.strip()
    if seconds and word.replace(".", "", 1).isdecimal():
        raise InvalidInput(f"{option}: {clean_line(word, 20)} of what?", units(word))
    return seconds


def units(number: str) -> str:
    """The spellings of a duration, for a number that was given without a unit."""
    shown = clean_line(number, 20)
    return f"write {shown}d (days), {shown}h (hours), {shown}m (minutes) or {shown}s (seconds)"


def optional_duration(option: str, text: str | None) -> float | None:
    """The same for an option that may be missing."""
    return None if text is None else duration(option, text)
