"""A program that uses the HTTP API of a dashboard, which is killed now and then."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from typing import Any, ClassVar

from ..book import PLAY, Answer, answer_of
from . import Actor

TOKEN = "the-token-of-a-campaign"
PATIENCE = 60.0
"""Seconds for an answer: on PostgreSQL a request may wait for the server."""


class Dashboard(Actor):
    """One dashboard at a time. Its answers have the words of the command line."""

    name: ClassVar[str] = "dashboard"
    _process: subprocess.Popen[bytes] | None = None
    _port = 0

    def act(self) -> None:
        if self._process is None and not self._begin():
            return
        assert self._process is not None
        doomed = self.rng.random() < 0.05
        if doomed:
            self._kill_soon()
        self.rng.choice(
            (
                *(self.enqueue,) * 3,
                self.enqueue_many,
                self.retry,
                self.cancel,
                self.remove,
                self.retry_dead,
                *(self.read,) * 3,
            )
        )()
        if doomed:
            self._process.communicate()
            self._process = None
            self.figures["dashboards killed"] += 1

    def finish(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.broken.append("dashboard: does not end")
            self._process.kill()
            self._process.communicate()
            return
        if code := self._process.returncode:
            self.broken.append(f"dashboard: exit {code}")

    # -- the process --------------------------------------------------------------------

    def _begin(self) -> bool:
        token = self.plant.place / "token"
        token.touch(0o600)
        token.write_text(TOKEN)
        said = (self.plant.place / "said" / f"{self.name}.txt").open("ab")
        words = ["dashboard", "--listen", "127.0.0.1:0", "--token-file", str(token)]
        process = self.plant.spawn(
            [sys.executable, "-m", "queuectl_tui", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        said.close()
        assert process.stdout is not None
        found = re.search(rb":(\d+)", process.stdout.readline())
        if found is None:
            process.communicate()
            code = process.returncode
            if code > 0 and code != 5:  # 5: a server that is away; below 0: the campaign is over
                self.broken.append(f"dashboard: did not start, exit {code}")
            return False
        self._process, self._port = process, int(found[1])
        return True

    def _kill_soon(self) -> None:
        """Kill it while it answers the next request."""
        assert self._process is not None
        threading.Timer(self.rng.uniform(0.0, 0.05), self._process.kill).start()

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[Answer, Any]:
        """(how it ended, the document)."""
        self.figures["dashboard: requests"] += 1
        headers = {"Authorization": f"Bearer {TOKEN}"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request(method, f"/api/v1{path}", data, headers)
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return Answer.IN_DOUBT, None
        finally:
            connection.close()
        if answer.status < 400:
            return Answer.ACKNOWLEDGED, document
        code, said = document.get("exit_code"), document["detail"]
        away = (5,) if self.plant.database.kind == "postgres" else ()
        if code not in (3, 4, *away):
            self.broken.append(f"dashboard: {method} {path}: {answer.status} {said[:300]}")
        return answer_of(code or 1, said), None

    # -- requests -----------------------------------------------------------------------

    def enqueue(self) -> None:
        job = self.new_job()
        source = job.source(self.seconds(), with_id=self.rng.random() < 0.5)
        job.answer, _ = self._ask("POST", "/jobs", source | {"queue": PLAY})

    def enqueue_many(self) -> None:
        jobs = [self.new_job() for _ in range(self.rng.choice((2, 20, 200)))]
        sources = [job.source(0.0) | {"queue": PLAY} for job in jobs]
        answer, _ = self._ask("POST", "/jobs", sources)
        self.book.answered(jobs, answer)

    def _change(self, what: str, method: str, path: str, *states: str) -> None:
        found = self.some_job(*states)
        if found is not None:
            name, job_id = found
            answer, _ = self._ask(method, f"/jobs/{job_id}{path}")
            self.ask(what, name, answer)

    def retry(self) -> None:
        self._change("retry", "POST", "/retry", "dead", "cancelled", "completed")

    def cancel(self) -> None:
        self._change("cancel", "POST", "/cancel", "pending", "failed", "processing")

    def remove(self) -> None:
        self._change("remove", "DELETE", "", "pending", "dead", "cancelled", "completed")

    def retry_dead(self) -> None:
        self.book.bulk.add("retry dead")
        self._ask("POST", "/dlq/retry", {"queue": PLAY})

    def read(self) -> None:
        paths = ("/status", "/jobs?limit=20", "/dlq/groups", "/workers", "/stats")
        self._ask("GET", self.rng.choice(paths))
