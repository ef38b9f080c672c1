"""The result of one trial: a single attack with a promise of its own."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Trial:
    """What a trial found wrong, and what it measured; one that can't be done here says so in
    ``skipped``."""

    name: str
    rounds: int
    """How often to do what is done again and again."""
    broken: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: str = ""
    mutate: str = ""

    def check(self, holds: object, otherwise: str) -> None:
        """Note what is broken."""
        if not holds:
            self.broken.append(f"{self.name}: {otherwise}")

    def refused(self, what: str, result: tuple[int, str, str], *words: str) -> None:
        """A verb must have ended with exit 5 and one clear line."""
        code, _, err = result
        lines = err.strip().splitlines()
        clear = code == 5 and len(lines) == 1 and any(word in err for word in words)
        self.check(clear, f"{what}: exit {code}, {err.strip()[:300]!r}")
