"""``GET /metrics``, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from queuectl_core.operations.metrics import CONTENT_TYPE, read_metrics, text_format

from .context import context


async def metrics(request: Request) -> Response:
    """The metrics of the queue, as ``queuectl metrics`` prints them. The store is read at most once
    a second for all requests together."""
    found = context(request)
    as_text = text_format()

    async def read() -> bytes:
        return as_text(await read_metrics(await found.reader()))

    return Response(await found.metrics.get(read), media_type=CONTENT_TYPE)
