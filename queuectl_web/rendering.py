"""Rendering pages with Jinja2. Autoescape is always on, and cells come clean from presentation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from queuectl_core.domain.text import clean_line
from queuectl_tui.presentation.format import ago, plural

from .links import local_path

HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, compiled once."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"clean": clean_line, "sentence": sentence}
    made.globals |= {"ago": ago, "plural": plural}
    return made


def sentence(text: str) -> str:
    """A message of the command line as a sentence on a page."""
    text = clean_line(text)
    end = "" if text.endswith((".", "!", "?", "…")) else "."
    return text[:1].upper() + text[1:] + end


def render(template: str, /, **values: Any) -> str:
    """A template as text."""
    return environment().get_template(template).render(**values)


def _is_seen(request: Request) -> bool:
    """Whether a person will see the page. A script that loads parts of it again must not take the
    messages of another tab."""
    return request.method != "HEAD" and request.headers.get("sec-fetch-dest") != "empty"


def page(
    request: Request,
    template: str,
    /,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A whole page. Shows the messages of the session that were not shown yet."""
    state = request.scope.get("state", {})
    session = state.get("session")
    text = render(
        template,
        path=local_path(quote(request.scope["path"], safe=":/@")),
        csrf="" if session is None else session.csrf,
        signed_in=session is not None,
        read_only=state.get("read_only", False),
        messages=session.take_messages() if session is not None and _is_seen(request) else [],
        **values,
    )
    return HTMLResponse(text, status, dict(headers or {}))
