"""The reason why a job died, in words that are equal for all jobs with the same cause.

These are pure functions. The store keeps the reason with each dead job. So an index is enough to
count fifty thousand dead jobs by reason, without reading their errors.
"""

from __future__ import annotations

import re

from .text import clean_line

LIMIT = 160
"""The longest reason, in characters."""

MARK = "#"
"""Replaces a number or an id."""

_EXIT = r"(?i)exit(?:ed)?(?: with)?(?: code| status)? ?-?\d+[:;,]? *"
# The status of HTTP is the reason, and there are few of them.
_VARIABLE = r"""(?ix)
      \b(?P<kept>HTTP(?:/\d(?:\.\d)?)?\ [1-5]\d\d)\b(?![.,:]\d)
    | [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}        # UUID
    | \d{4}-\d\d-\d\d[T\ ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?  # time
    | \b0x[0-9a-f]+\b
    | \b(?=[a-z]*\d)[0-9a-z]{8,}\b                     # hashes, generated ids
    | \d+(?:[.,:]\d+)*                                   # numbers, versions, addresses
    """


def last_line(text: str) -> str:
    """The last line of ``text`` that is not blank; empty if there is none."""
    for line in reversed(text[-4096:].splitlines()):
        if line.strip():
            return line.strip()
    return ""


def without_variables(line: str) -> str:
    """``line`` with every number and id replaced by :data:`MARK`, except the status of HTTP, on one
    clean line."""
    found = re.sub(_VARIABLE, lambda match: match["kept"] or MARK, line[: LIMIT * 4])
    return clean_line(found, LIMIT)


def dead_reason(exit_code: int | None, last_error: str | None) -> str:
    """The reason by which dead jobs are grouped: the exit code and the last line of the error."""
    error = last_line(last_error or "")
    match = re.match(_EXIT, error)
    said = without_variables(error[match.end() :] if match else error)
    if not match or exit_code is None:
        return said or "no reason given"
    return f"exit {exit_code}: {said}" if said else f"exit {exit_code}"
