"""Who writes to a store, and by which front end."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..system.host import actor


class Signature:
    """Signs the events that a store writes."""

    __slots__ = ("_actor", "_env", "via")

    def __init__(self, via: str = "python", env: Mapping[str, str] | None = None) -> None:
        """``via``: the front end."""
        self.via = via
        self._env = os.environ if env is None else env
        self._actor: str | None = None

    @property
    def actor(self) -> str:
        """``user@host``. Looked up when the first event is written: most stores write none."""
        if self._actor is None:
            self._actor = actor(self._env)
        return self._actor
