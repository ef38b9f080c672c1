"""Strict JSON, with errors in one line. Python's own parser accepts more than the standard."""

from __future__ import annotations

import json
from typing import Any

from .errors import InvalidInput
from .text import clean_line


def parse_json(text: str | bytes, what: str = "job") -> Any:
    """The JSON value in ``text``. InvalidInput with one line if it is not JSON.

    NaN, Infinity and a key that is given twice are refused, although Python's parser accepts them.
    """
    try:
        if not isinstance(text, str):
            text = text.decode()
        # The fast way: a line of a large file seldom has white space around it.
        if text[:1] == "{" and text[-1:] == "}":
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        return _DECODER.decode(text)
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        from .json_mistakes import explain  # needed only for an error message

        raise explain(error, what) from None
    except RecursionError:
        raise InvalidInput(f"{what} is not valid JSON: nested too deeply") from None
    except ValueError:  # a number with thousands of digits
        raise InvalidInput(f"{what} is not valid JSON: a number is too long") from None


def _no_constant(name: str) -> Any:
    raise InvalidInput(f"{name} is not a JSON number")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidInput(f"field '{clean_line(name, 40)}' is given twice")
            seen.add(name)
    return result


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_twice)
