"""The named queries of this store; what rows become is the same for every store."""

from __future__ import annotations

from pathlib import Path

from ..queries import load
from ..rows import attempt_params, spec_params, to_attempt, to_job, to_supervisor, to_worker

__all__ = [
    "SQL",
    "attempt_params",
    "spec_params",
    "to_attempt",
    "to_job",
    "to_supervisor",
    "to_worker",
]

SQL = load(Path(__file__).parent / "sql")
