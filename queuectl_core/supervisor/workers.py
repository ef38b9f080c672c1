"""The workers of a supervisor: each runs one job at a time."""

from __future__ import annotations

from dataclasses import dataclass

from .attempt import ActiveAttempt, StopReason


@dataclass(slots=True)
class Slot:
    """One worker. ``stop``: None, ``drain`` or ``now``."""

    id: str
    queues: tuple[str, ...]
    attempt: ActiveAttempt | None = None
    """What it runs; None: it is idle."""
    stop: str | None = None

    @property
    def queue_names(self) -> str:
        """Its queues in one text: a prefetched job may start on any worker of the same queues."""
        return " ".join(self.queues)

    @property
    def idle(self) -> bool:
        """It may be given a job."""
        return self.attempt is None and self.stop is None

    def serves(self, queue: str) -> bool:
        """Whether it runs jobs of this queue."""
        return not self.queues or queue in self.queues

    def ask_to_stop(self, mode: str) -> None:
        """Stop after the running job (``drain``), or end it (``now``). ``now`` stands."""
        self.stop = "now" if "now" in (mode, self.stop) else mode
        if mode == "now" and self.attempt is not None:
            self.attempt.terminate(StopReason.NOW)
