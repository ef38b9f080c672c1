"""A program that embeds queuectl: see ``embedded.py``. It lives for seconds, then it ends, or it
is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, ClassVar

from ..book import PLAY, Answer, Planned, answer_of
from . import Actor

PATIENCE = 60.0
"""Seconds for it to end when it is told to: on PostgreSQL a request may wait for the server."""


class Program(Actor):
    """One after another."""

    name: ClassVar[str] = "program"

    def act(self) -> None:
        self._count += 1
        life = f"{self.name}{self._count}"
        path = self.plant.place / f"{life}.jsonl"
        errors = self.plant.place / "said" / f"{life}.txt"
        with path.open("wb") as out, errors.open("wb") as err:
            process = self.plant.spawn(
                [sys.executable, "-m", "chaos.embedded", life, str(self.rng.random())],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )
            kills = self.rng.random() < 0.4
            while process.poll() is None and not path.stat().st_size and not self.stopping:
                self.rest(0.1)  # on a busy machine its start takes seconds
            self.rest(self.rng.uniform(0.5, 5.0))
            if kills:
                process.kill()
            try:
                process.communicate(timeout=PATIENCE)  # the end of its stdin tells it to end
            except subprocess.TimeoutExpired:
                self.broken.append(f"{life}: does not end")
                process.kill()
                process.wait()
        if process.returncode > 0:
            said = errors.read_text("utf-8", "replace")
            self.broken.append(f"{life}: exit {process.returncode}: {said[-500:]}")
        self.figures["programs"] += 1
        self._read(path.read_text("utf-8").splitlines())

    def _read(self, lines: list[str]) -> None:
        """What it asked for, and what it was answered, in the order of both."""
        asked: dict[int, dict[str, Any]] = {}
        for line in lines:
            try:
                said: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # it was killed in the middle of it
            number = said["number"]
            if "what" in said:
                asked[number] = said
            else:
                self._settle(asked.pop(number), answer_of(said["code"], said["error"]), said)
        for request in asked.values():
            self._settle(request, Answer.IN_DOUBT, {})

    def _settle(self, asked: dict[str, Any], answer: Answer, said: dict[str, Any]) -> None:
        self.figures["program: requests"] += 1
        away = (5,) if self.plant.database.kind == "postgres" else ()
        if said.get("code", 0) not in (0, 3, 4, *away):
            self.broken.append(f"{asked['what']} by a program: {said['error'][:300]}")
        if asked["what"] == "enqueue":
            for name, code in asked["jobs"]:
                self.book.add(Planned(name, code, 1, PLAY, answer))
        elif asked["what"] in ("retry", "cancel", "remove"):
            self.book.ask(asked["what"], asked["names"], answer, self.plant.log_size())
        else:
            self.book.bulk.add(asked["what"])
