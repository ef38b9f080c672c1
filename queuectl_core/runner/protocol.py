"""Requests as bytes: split into lines, parsed, and checked one by one.

Nothing that arrives may end the shim, because other jobs depend on it. So each request is
checked completely before it is used. One that is malformed is refused, and the next one counts.
"""

import json
import re
import signal
from collections.abc import Callable
from typing import Any

MAX_REQUEST = 64 << 20
"""Bytes of one request. The longest that a supervisor sends is a fifth of that."""

_TOKEN = re.compile(rb'\s*\[\s*"(?:start|hold)"\s*,\s*"([^"\\]{1,100})"')


class MalformedRequest(Exception):
    """Not a request. ``token``: the job that it was to start, as far as one can tell."""

    def __init__(self, line: bytes | bytearray, problem: str) -> None:
        super().__init__(f"malformed request ({problem})")
        found = _TOKEN.match(line)
        self.token = found[1].decode("utf-8", "replace") if found else None


class LineBuffer:
    """Bytes in, whole lines out."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0  # bytes in which there is no newline
        self._skipping = False  # the line is too long: the rest of it is thrown away

    def feed(self, data: bytes) -> None:
        """Add ``data``, all of it or, when there is no memory, nothing."""
        if self._skipping:
            _, found, data = data.partition(b"\n")
            if not found:
                return
        self._rest += data
        self._skipping = False

    def take(self) -> bytearray | None:
        """Remove the first line and return it; None: there is no whole one. Of one that is too long
        only the beginning is returned, which no request can be."""
        end = self._rest.find(b"\n", self._searched)
        if end >= 0:
            line = self._rest[:end]
            del self._rest[: end + 1]
            self._searched = 0
            return line
        self._searched = len(self._rest)
        if self._searched <= MAX_REQUEST:
            return None
        line = self._rest[:1000]
        self._rest, self._searched, self._skipping = bytearray(), 0, True
        return line


def parse(line: bytes | bytearray) -> list[Any]:
    """The request in ``line``: its kind and its arguments, each of the right type."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(line, type(error).__name__) from None
    if not isinstance(request, list) or not request or not _is_text(request[0]):
        raise MalformedRequest(line, "not a list that begins with a word")
    kind, *arguments = request
    checks = _CHECKS.get(kind)
    if checks is None:
        raise MalformedRequest(line, "of an unknown kind")
    if len(arguments) not in (len(checks), len(checks) - (checks[-1:] == (_is_files,))):
        raise MalformedRequest(line, f"{kind} has {len(checks)} arguments")
    for number, (check, argument) in enumerate(zip(checks, arguments, strict=False), 1):
        if not check(argument):
            raise MalformedRequest(line, f"argument {number} of {kind}")
    return request


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_list_of_text(value: Any) -> bool:
    return type(value) is list and all(type(one) is str for one in value)


def _is_argv(value: Any) -> bool:
    return _is_list_of_text(value) and value != []


def _is_plain(value: Any) -> bool:
    return value is None or _is_argv(value)


def _is_env(value: Any) -> bool:
    return type(value) is dict and all(type(one) is str for one in value.values())


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_output(value: Any) -> bool:
    if type(value) is not list or len(value) != 2:
        return False
    return type(value[0]) is str and _is_number(value[1]) and value[1] > 0


def _is_limits(value: Any) -> bool:
    if value is None:
        return True
    return type(value) is list and len(value) == 3 and all(map(_is_number, value))


def _is_files(value: Any) -> bool:
    if type(value) is not list or len(value) != 2:
        return False
    return (value[0] is None or _is_text(value[0])) and _is_env(value[1])


def _is_signal(value: Any) -> bool:
    return type(value) is int and (value == 0 or value in _SIGNALS)


_SIGNALS = signal.valid_signals()
_HOW = (_is_argv, _is_plain, _is_text, _is_env, _is_output, _is_limits, _is_files)
"""The last one may be left out."""
_CHECKS: dict[str, tuple[Callable[[Any], bool], ...]] = {
    "use": (_is_text, _is_text),
    "start": (_is_text, _is_text, _is_text, *_HOW),
    "hold": (_is_text, _is_text, *_HOW),
    "recall": (_is_list_of_text,),
    "settled": (_is_list_of_text,),
    "kill": (_is_text, _is_signal),
    "ping": (),
}
