"""Who may use the dashboard: one-time links, sessions in cookies, and the token of a file."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from queuectl_core.domain.errors import InvalidInput
from queuectl_tui.presentation.actions import Action

SESSION_SECONDS = 30 * 86400.0
"""How long a session is valid after its last request."""

MAX_SESSIONS = 200
MAX_QUESTIONS = 20
MAX_MESSAGES = 20
"""For each session. The oldest ones are dropped. A question may hold the keys of 20,000 jobs."""

QUESTION_SECONDS = 900.0
"""How long a question can be answered. Later the jobs may be very different."""

SHORTEST_TOKEN = 16
"""Characters. Shorter tokens can be guessed."""


@dataclass(slots=True)
class Message:
    """The result of an action, shown on the next page."""

    text: str
    role: str
    command: str = ""
    """The equivalent command line."""


@dataclass(slots=True)
class Question:
    """An action that waits for its answer. It keeps the jobs as they were when it was asked."""

    action: Action
    back: str
    """The page to return to."""
    until: float
    """Monotonic seconds."""


@dataclass(slots=True)
class Session:
    """One browser that has signed in."""

    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """The token that every form of this session carries."""
    used: float = field(default_factory=time.monotonic)
    questions: OrderedDict[str, Question] = field(default_factory=OrderedDict)
    messages: list[Message] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is over. Its streams end."""

    def tell(self, text: str, role: str = "good", command: str = "") -> None:
        """Show a message on the next page."""
        self.messages = [*self.messages, Message(text, role, command)][-MAX_MESSAGES:]

    def take_messages(self) -> list[Message]:
        """The messages that were not shown yet."""
        found, self.messages = self.messages, []
        return found

    def ask(self, action: Action, back: str) -> str:
        """Keep an action until its question is answered. Returns the key of the question."""
        key = secrets.token_urlsafe(12)
        self.questions[key] = Question(action, back, time.monotonic() + QUESTION_SECONDS)
        while len(self.questions) > MAX_QUESTIONS:
            self.questions.popitem(last=False)
        return key

    def answer(self, key: str) -> Question | None:
        """The question with this key, once; None if it was answered before or is too old."""
        found = self.questions.pop(key, None)
        return found if found is not None and found.until > time.monotonic() else None


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class Sessions:
    """All sessions. Only digests of tokens are kept."""

    def __init__(self, token: str | None = None) -> None:
        """``token``: the token of ``--token-file``. Without it there are one-time links."""
        self._fixed = None if token is None else _digest(token)
        self._once = b""
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    @property
    def has_token(self) -> bool:
        """Whether there is a token that can be used more than once."""
        return self._fixed is not None

    def new_link_token(self) -> str:
        """A token for one sign-in. It replaces the one before."""
        token = secrets.token_urlsafe(24)
        self._once = _digest(token)
        return token

    def is_bearer(self, token: str) -> bool:
        """Whether this is the token of the file, for programs."""
        return self._fixed is not None and hmac.compare_digest(self._fixed, _digest(token))

    def sign_in(self, token: str, *, once: bool = False) -> str | None:
        """The cookie of a new session, if the token is right. A one-time token is used up.
        ``once``: the other token, which must not be in an address, is not right."""
        given = _digest(token)
        if self._once and hmac.compare_digest(self._once, given):
            self._once = b""
        elif once or not self.is_bearer(token):
            return None
        cookie = secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = Session()
        while len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            oldest.ended.set()
        return cookie

    @property
    def link_used(self) -> bool:
        """Whether the last link was used, so that a further browser needs a new one."""
        return not self._once

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie."""
        key = _digest(cookie)
        found = self._sessions.get(key)
        if found is None:
            return None
        now = time.monotonic()
        if now - found.used > SESSION_SECONDS:
            self._end(key)
            return None
        found.used = now
        self._sessions.move_to_end(key)
        return found

    def sign_out(self, session: Session) -> None:
        """End a session."""
        for key, found in self._sessions.items():
            if found is session:
                self._end(key)
                break

    def _end(self, key: bytes) -> None:
        self._sessions.pop(key).ended.set()


def read_token(path: Path) -> str:
    """The token in a file. InvalidInput if others may read the file, or if it is too short."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read(4098).decode("latin-1").strip()
    except OSError as error:
        raise InvalidInput(f"--token-file: {path}: {error.strerror}", "make it readable") from None
    if mode & 0o077:
        raise InvalidInput(f"--token-file: {path} can be read by others", f"chmod 600 {path}")
    fine = token.isascii() and token.isprintable() and " " not in token
    if not fine or not SHORTEST_TOKEN <= len(token) <= 4096:
        raise InvalidInput(
            f"--token-file: {path} holds no usable token",
            f"give one ASCII word of {SHORTEST_TOKEN} characters or more: openssl rand -hex 32",
        )
    return token
