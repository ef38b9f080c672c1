"""Addresses of pages."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urlencode


def jobs_link(**items: str) -> str:
    """The page of jobs with a filter."""
    return with_query("/jobs", list(items.items()))


def with_query(path: str, items: Sequence[tuple[str, str]]) -> str:
    """``path`` with a query; without items only the path."""
    return f"{path}?{urlencode(items)}" if items else path


def job_link(job_id: str) -> str:
    """The page of a job."""
    return f"/jobs/{quote(job_id, safe='')}"


def queue_link(name: str) -> str:
    """The page of a queue."""
    return f"/queues/{quote(name, safe='')}"


def schedule_link(name: str) -> str:
    """The page of a schedule."""
    return f"/schedules/{quote(name, safe='')}"


def local_path(text: str) -> str:
    """``text`` if it is a path of this server, otherwise the overview. A form says where to return
    to, and must not send anybody elsewhere."""
    fine = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if fine and text.isprintable() and text.isascii() else "/"
