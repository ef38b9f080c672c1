"""The named queries of SQLite, and conversions of its rows."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ...domain.model import Job
from .. import rows
from ..named_sql import load
from .errors import BadValue

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


def to_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as parameters. Lists become JSON, which ``json_each`` reads."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        for name, value in values.items()
    }


to_job = reading(rows.to_job)
to_attempt = reading(rows.to_attempt)
to_worker = reading(rows.to_worker)
to_supervisor = reading(rows.to_supervisor)
to_ended = reading(rows.to_ended)
read_json = reading(json.loads)

SQL = load(os.path.join(os.path.dirname(__file__), "sql"))


def job_at(conn: sqlite3.Connection, seq: int) -> Job:
    """The job with this key, which is there."""
    return to_job(conn.execute(SQL["job_by_seq"], {"seq": seq}).fetchone())
