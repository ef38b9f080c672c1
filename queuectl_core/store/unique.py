"""What a bulk enqueue does with lines whose unique value is held, or is given twice."""

from __future__ import annotations

from ..domain.errors import Conflict
from ..domain.model import Job
from .rows import Row, held_unique


class UniqueLines:
    """Decides, line after line in their order, which are enqueued."""

    def __init__(self) -> None:
        self.gone: list[int] = []
        """Lines that are not enqueued."""
        self.replaced: list[int] = []
        """The seqs of jobs of the store that got the fields of a line."""
        self._held: list[tuple[int, str]] = []
        self._kept: dict[str, Row] = {}
        self._twice: list[tuple[int, str]] = []

    def add(self, row: Row, holder: Job | None) -> bool:
        """The next line. ``holder``: the job of the store that holds its value. Returns whether
        this job gets the fields of the line. Conflict if the line says so."""
        line, value, how = row["line"], row["unique_value"], row["on_conflict"]
        earlier = self._kept.get(value)
        if holder is None and earlier is None:
            self._kept[value] = row
            return False
        if how == "fail":
            where = f"nothing enqueued: line {line}: "
            if holder is not None:
                raise held_unique(holder, where)
            raise Conflict(f"{where}the unique value '{value}' is given twice", "give it once")
        if holder is not None:
            self.gone.append(line)
            self._held.append((line, holder.id))
            if how != "replace":
                return False
            self.replaced.append(holder.seq)
            return True
        if earlier is not None and how == "replace":
            self._kept[value], line = row, earlier["line"]
        self.gone.append(line)
        self._twice.append((line, value))
        return False

    @property
    def existing(self) -> list[tuple[int, str]]:
        """Each line that is not enqueued, with the id of the job that holds its value."""
        # Only now it is known which of the lines with one value is enqueued.
        twice = [(line, self._kept[value]["id"]) for line, value in self._twice]
        return sorted(self._held + twice)
