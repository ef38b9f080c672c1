"""Sending a delivery of a hook: what ``queuectl hook deliver`` and ``queuectl hook test`` do.

It runs in the process of a job, and needs no store.
"""

from __future__ import annotations

import os
import ssl
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException, responses
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from ..domain.errors import InvalidInput
from ..domain.hooks import check_url, secret_key, signature
from ..domain.text import clean_block, clean_line

RESPONSE_LIMIT = 2048
"""Bytes of a response that are shown. The rest is not read."""
RESPONSE_SECONDS = 0.5
"""How long it is waited for them. The status is known by then."""
SECRET_LIMIT = 4096
"""The longest secret file, in bytes."""
TIMED_OUT = "timed out"


class Answer(NamedTuple):
    """What became of a delivery to a URL."""

    status: int | None
    """The HTTP status; None: there was no answer."""
    said: str
    """``HTTP 503 Service Unavailable``, or why there was no answer."""
    content: str = ""
    """The beginning of the response, cleaned."""

    @property
    def accepted(self) -> bool:
        """Whether it was accepted: 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether no more deliveries are wanted: 410."""
        return self.status == 410


def read_key(path: str) -> bytes:
    """The key in a secret file; InvalidInput if it cannot be used."""
    # Opening a FIFO would wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        with open(os.open(os.path.expanduser(path), flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("it is not a regular file")
            content = file.read(SECRET_LIMIT + 1)
    except OSError as error:
        said = f"cannot read the secret file {clean_line(path, 200)}: {error.strerror or error}"
        raise InvalidInput(said, "make one: openssl rand -base64 32") from error
    if len(content) > SECRET_LIMIT:
        raise InvalidInput(
            f"the secret file {clean_line(path, 200)} is too long", f"at most {SECRET_LIMIT} bytes"
        )
    return secret_key(content)


def post(
    url: str,
    content: bytes,
    *,
    message: str,
    key: bytes | None = None,
    timeout: float | None = None,
) -> Answer:
    """POST ``content`` to ``url``. Redirects are not followed. ``message``: the id of the delivery.
    ``key``: signs it. ``timeout``: seconds without a byte from the server (None: no limit)."""
    from .. import __version__

    now = int(time.time())
    address, headers = _address(check_url(url))
    headers |= {
        "content-type": "application/json",
        "user-agent": f"queuectl/{__version__}",
        "webhook-id": message,
        "webhook-timestamp": str(now),
    }
    if key is not None:
        headers["webhook-signature"] = signature(key, message, now, content)
    # Without a handler for redirects and errors, each response is returned as it is. A redirect
    # could lead to an address that nobody configured.
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    request = Request(address, content, headers, method="POST")  # noqa: S310 - http and https only
    try:
        # Without a timeout the job's own timeout ends it.
        response = opener.open(request, timeout=timeout)
        return Answer(response.status, _words(response.status), _content(response))
    except URLError as error:
        return Answer(None, _reason(error.reason))
    except (OSError, HTTPException, ValueError) as error:
        return Answer(None, _reason(error))


def _address(url: str) -> tuple[str, dict[str, str]]:
    """The URL without a user and password, and the header that has these."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    import base64

    user, _, host = parts.netloc.rpartition("@")
    given = base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"authorization": f"Basic {given}"}


def _content(response: Any) -> str:
    """The beginning of a response. The status is what counts: a server that keeps the connection
    open, or sends slowly, must not make an accepted delivery time out."""
    import threading

    found = bytearray()

    def read() -> None:
        with suppress(OSError, HTTPException, ValueError, AttributeError):
            while len(found) < RESPONSE_LIMIT:
                some = response.read1(RESPONSE_LIMIT - len(found))
                if not some:
                    break
                found.extend(some)
        with suppress(OSError):
            response.close()  # here, because closing would wait for the reader

    thread = threading.Thread(target=read, name="response", daemon=True)
    thread.start()
    thread.join(RESPONSE_SECONDS)
    return clean_block(bytes(found).decode("utf-8", "replace"))


def _words(status: int) -> str:
    """``HTTP 503 Service Unavailable``. The words are ours, not the server's."""
    words = f"HTTP {status} {responses.get(status, '')}".rstrip()
    return f"{words}; redirects are not followed" if 300 <= status < 400 else words


def _reason(error: Any) -> str:
    """Why there was no answer, without the URL, which may be secret."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {clean_line(error.verify_message, 100)}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {clean_line(error.reason or 'failed', 100)}"
    if isinstance(error, HTTPException):
        return "the answer is not HTTP"
    if isinstance(error, OSError):
        return clean_line((error.strerror or type(error).__name__).lower(), 100)
    return "no connection"


def run(env: Mapping[str, str], read: Callable[[], bytes]) -> Answer:
    """Deliver what ``read`` returns as the environment of the job says. InvalidInput if it says
    nothing."""
    from ..domain.hooks import SECRET_VARIABLE, URL_VARIABLE

    url = env.get(URL_VARIABLE)
    if not url:
        raise InvalidInput(
            f"{URL_VARIABLE} is not set", "queuectl runs this as a job: see queuectl hook --help"
        )
    secret = env.get(SECRET_VARIABLE)
    key = read_key(secret) if secret else None
    return post(url, read(), message=env.get("QUEUECTL_JOB_ID") or "none", key=key)
