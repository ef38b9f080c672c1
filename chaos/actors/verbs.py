"""Verbs in a shell, each now and then killed at a random moment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from ..book import PLAY, Answer, answer_of
from . import Actor


class Came(NamedTuple):
    """How a verb ended."""

    answer: Answer
    code: int
    out: str
    err: str


class Verbs(Actor):
    """Every verb that changes something, and those that read."""

    name: ClassVar[str] = "verb"

    def act(self) -> None:
        choices: list[Callable[[], None]] = [
            *(self.enqueue,) * 3,
            self.enqueue_many,
            self.enqueue_file,
            *(self.retry, self.cancel, self.remove) * 2,
            *(self.retry_dead, self.purge_dead) * 2,
            self.configure,
            *(self.forget_cancelled,) * 2,
            self.stop_workers,
            *(self.hold, self.release, self.edit, self.limit, self.pause_queue),
            *(self.read,) * 2,
        ]
        self.rng.choice(choices)()

    def run(self, *args: str, stdin: bytes | None = None, codes: tuple[int, ...] = (0,)) -> Came:
        """Run a verb; sometimes kill it. ``codes``: the exit codes that are allowed."""
        kill_after = self.rng.choice((None, None, None, self.rng.uniform(0.05, 0.8)))
        process = self.plant.start_cli(*args, stdin=stdin)
        killed = False
        try:
            out, err = process.communicate(timeout=kill_after or 120)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            killed = True
            if kill_after is None:
                self.broken.append(f"{' '.join(args)[:100]}: not done after 120 s")
        code, words = process.returncode, err.decode("utf-8", "replace")
        if code >= 0:
            self.plant.say("verbs", words)
        self.figures["verbs killed" if code < 0 else "verbs"] += 1
        # A server may be away, because this campaign takes it away. A file may not.
        allowed = (*codes, 5) if self.plant.database.kind == "postgres" else codes
        if code >= 0 and code not in allowed:
            self.broken.append(f"queuectl {' '.join(args)[:200]}: exit {code}: {words[-500:]}")
        return Came(answer_of(code, words, killed=killed), code, out.decode(), words)

    # -- enqueue ---------------------------------------------------------------------

    def enqueue(self) -> None:
        job = self.new_job()
        words = ["--queue", PLAY, "--max-retries", "1", "--backoff-base", "0"]
        if self.rng.random() < 0.5:
            words += ["--id", job.name]
        if self.rng.random() < 0.3:
            words += ["--key", self.rng.choice("abc")]
        if self.rng.random() < 0.2:
            words += ["--unique", self.rng.choice("uvw"), "--on-conflict", "fail"]
        if self.rng.random() < 0.4:
            job.gets = True
            words += ["--stdin", "-", "--secret", "CHAOS_SECRET=file:secret"]
        parent = self.some_job("pending", "processing", "failed", "completed", "dead")
        if parent is not None and self.rng.random() < 0.3:
            words += ["--after-any", parent[1]]
        given = f"in-{job.name}\n".encode() if job.gets else None
        came = self.run(
            "enqueue", *words, job.command(self.seconds()), stdin=given, codes=(0, 3, 4)
        )
        job.answer = came.answer

    def enqueue_many(self) -> None:
        jobs = [self.new_job() for _ in range(self.rng.choice((2, 20, 500)))]
        longest = 0.0 if len(jobs) > 50 else self.seconds()
        lines = "\n".join(
            json.dumps(job.source(longest, with_id=number % 2 == 0))
            for number, job in enumerate(jobs)
        )
        came = self.run("enqueue", "-", stdin=lines.encode())
        self.book.answered(jobs, came.answer)

    def enqueue_file(self) -> None:
        jobs = [self.new_job() for _ in range(30)]
        path = self.plant.place / "batch.jsonl"
        path.write_text("\n".join(json.dumps(job.source(0.0, with_id=False)) for job in jobs))
        came = self.run("enqueue", "--file", str(path))
        self.book.answered(jobs, came.answer)

    # -- changing -----------------------------------------------------------------------

    def _one(self, verb: str, what: str, states: tuple[str, ...]) -> None:
        found = self.some_job(*states)
        if found is None:
            return
        name, job_id = found
        came = self.run(verb, job_id, codes=(0, 1, 3, 4))
        self.ask(what, name, came.answer)

    def retry(self) -> None:
        self._one("retry", "retry", ("dead", "cancelled", "completed"))

    def cancel(self) -> None:
        self._one("cancel", "cancel", ("pending", "failed", "processing"))

    def remove(self) -> None:
        self._one("remove", "remove", ("pending", "dead", "cancelled", "completed"))

    def _dead(self, verb: str, what: str, *more: str) -> None:
        words = ["--all", "--queue", PLAY]
        if self.rng.random() < 0.5:
            words += ["--exit-code", "5"]
        self.book.bulk.add(what)
        self.run("dlq", verb, *words, *more)

    def retry_dead(self) -> None:
        self._dead("retry", "retry dead")

    def purge_dead(self) -> None:
        self._dead("purge", "purge dead", "--yes")

    # -- queues -------------------------------------------------------------------------

    def _some(self, *states: str) -> str | None:
        found = self.some_job(*states)
        return None if found is None else found[1]

    def hold(self) -> None:
        if (job := self._some("pending", "failed")) is not None:
            self.run("hold", job, codes=(0, 3, 4))

    def release(self) -> None:
        if (job := self._some("waiting")) is not None:
            self.run("release", job, codes=(0, 3, 4))

    def edit(self) -> None:
        if (job := self._some("pending", "waiting", "failed")) is not None:
            self.run("edit", job, "--priority", str(self.rng.randint(0, 3)), codes=(0, 3, 4))

    def limit(self) -> None:
        """A limit that lets jobs go on, or none."""
        option = self.rng.choice(("--limit", "--per-host", "--per-key"))
        self.run("queue", "set", PLAY, option, self.rng.choice(("none", "1", "2", "5")))

    def pause_queue(self) -> None:
        """For a moment: it ends by itself."""
        if self.rng.random() < 0.3:
            self.run("queue", "resume", PLAY, codes=(0, 3))
        else:
            self.run("queue", "pause", PLAY, "--for", self.rng.choice(("0.2s", "1s", "3s")))

    def finish(self) -> None:
        """All jobs may run in the end. A verb may be killed: then once more."""
        none = ("--limit", "none", "--per-host", "none", "--per-key", "none")
        for words in (
            ("queue", "set", PLAY, *none),
            ("release", "--all", "--queue", PLAY),
        ):
            while self.run(*words).code < 0:
                pass

    def configure(self) -> None:
        value = str(self.rng.randint(1000, 9999))
        came = self.run("config", "set", "backoff-max", value)
        self.book.config.setdefault("backoff-max", []).append((value, came.answer))

    def forget_cancelled(self) -> None:
        self.book.bulk.add("prune cancelled")
        if self.rng.random() < 0.5:
            self.run("prune", "--older-than", "0", "--state", "cancelled")
        else:
            self.run("remove", "--all", "--state", "cancelled", "--queue", PLAY, "--yes")

    def stop_workers(self) -> None:
        """One of the workers in the background, which consoles start."""
        rows = self.plant.sql(
            "SELECT w.id FROM workers w JOIN supervisors s ON s.id = w.supervisor"
            " WHERE s.detached ORDER BY w.id"
        )
        if rows:
            worker = str(self.rng.choice(rows)[0])
            now = ("--now",) if self.rng.random() < 0.3 else ()
            if now:
                self.book.bulk.add("stop now")
            words = ("worker", "stop", worker, "--timeout", "20", *now)
            self.run(*words, codes=(0, 3, 4, 124))

    # -- reading ------------------------------------------------------------------------

    def read(self) -> None:
        words = self.rng.choice(
            (
                ["status"],
                ["list", "--json", "--limit", "100"],
                ["dlq", "list", "--group"],
                ["stats"],
                ["worker", "list"],
                ["status", "--why"],
                ["queue", "list", "--json"],
                ["why"],
                ["show", "--tree"],
                ["logs"],
            )
        )
        if words[0] in ("logs", "why", "show"):
            waits = ("pending", "waiting", "failed") if words[0] == "why" else ()
            found = self.some_job("completed", "dead", "processing", *waits)
            if found is None:
                return
            self.run(*words, found[1], codes=(0, 1, 3, 4))
        else:
            self.run(*words)
