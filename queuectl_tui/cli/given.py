"""Values of options that several verbs take."""

from __future__ import annotations

from queuectl_core.config import MAX_SECONDS
from queuectl_core.errors import InvalidInput
from queuectl_core.times import parse_duration


def duration(option: str, text: str) -> float:
    """Seconds in ``text``; InvalidInput names the option."""
    try:
        seconds = parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error.message}", error.hint) from None
    if seconds > MAX_SECONDS:
        raise InvalidInput(f"{option}: longer than ten years")
    return seconds


def optional_duration(option: str, text: str | None) -> float | None:
    """The same for an option that may be missing."""
    return None if text is None else duration(option, text)
