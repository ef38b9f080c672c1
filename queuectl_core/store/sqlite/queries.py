"""The named queries of SQLite, and conversions of its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ...domain.model import Filter, Outcome, State
from .. import rows
from ..named_sql import load
from ..rows import attempt_params, spec_params
from .errors import BadValue

__all__ = [
    "SQL",
    "attempt_params",
    "conditions",
    "read_json",
    "spec_params",
    "to_attempt",
    "to_job",
    "to_outcome",
    "to_state",
    "to_supervisor",
    "to_worker",
]

P = ParamSpec("P")
T = TypeVar("T")


def reading(convert: Callable[P, T]) -> Callable[P, T]:
    """``convert``, which raises BadValue for a value that cannot be converted."""

    @wraps(convert)
    def converted(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return convert(*args, **kwargs)
        except ValueError as error:
            raise BadValue(str(error)) from error
        except TypeError as error:
            if "NoneType" not in str(error):
                raise
            raise BadValue("NULL where there never is one") from error

    return converted


def conditions(where: Filter) -> dict[str, Any]:
    """A filter's conditions as parameters. Lists become JSON, which ``json_each`` reads."""
    found = rows.conditions(where)
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        for name, value in found.items()
    }


def _state(word: str) -> State:
    return State(word)


def _outcome(word: str) -> Outcome:
    return Outcome(word)


to_job = reading(rows.to_job)
to_attempt = reading(rows.to_attempt)
to_worker = reading(rows.to_worker)
to_supervisor = reading(rows.to_supervisor)
to_state = reading(_state)
to_outcome = reading(_outcome)
read_json = reading(json.loads)

SQL = load(Path(__file__).parent / "sql")
