"""A campaign: jobs run, faults happen, actors act, and at the end every promise is checked.

The seed decides which faults happen, in which order, and after how many ended jobs each, and what
each actor does. The operating system schedules processes differently in each run.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from tests.pgserver import SETTINGS, Server

from .actors import Actor
from .actors.console import Console
from .actors.dashboard import Dashboard
from .actors.program import Program
from .actors.server import Crashes, Network
from .actors.tools import Tools
from .actors.verbs import Verbs
from .book import answer_of
from .database import PostgresDatabase
from .faults import FAULTS, LEASE
from .oracle import UNEXPECTED, Oracle
from .plant import Plant, Supervisor
from .proxy import Proxy
from .run import Run

Say = Callable[[str], None]

ACTORS: dict[str, type[Actor]] = {
    one.name: one for one in (Verbs, Console, Program, Dashboard, Tools, Network, Crashes)
}
STORES = ("sqlite", "postgres")
ATTACK = 0.6
"""The part of its time in which a campaign attacks. Then the remaining jobs are run."""


@dataclass
class Campaign(Run):
    """One run of it, from the start to the verdict."""

    say: Say = lambda text: None
    early: bool = False
    """Its time was over before everything was done."""
    """Pids of supervisors that could not reach the server at their start, and said so."""
    _actors: list[Actor] = field(default_factory=list)

    # -- the run ------------------------------------------------------------------------

    def run(self) -> None:
        """Do it all."""
        self._began = time.monotonic()
        base = Path(tempfile.mkdtemp(prefix="chaos-"))
        home = base / "home"
        home.mkdir(mode=0o700)
        self.plant = Plant(base / "place", home, self.options.workers, self.options.mutate)
        with ExitStack() as stack:
            stack.callback(self._clear, base)
            self._choose_store(stack)
            try:
                self._prepare()
                self._attack()
                self._while_moving(self._acted, ATTACK)
            except BaseException:
                for actor in self._actors:
                    actor.tell_to_stop()
                with self.plant.gate:
                    self.plant.kill_everything()
                raise
            finally:
                self._stop_actors()
            self._drain()
            self._conclude()
        self.figures["seconds"] = round(time.monotonic() - self._began)

    def _clear(self, base: Path) -> None:
        for process in self.strangers:
            process.kill()
            process.wait()
        if self.broken and self.options.keep:
            self.plant.kill_everything()
            self.say(f"kept for a look: {base}")
        else:
            self.plant.close()
            base.rmdir()

    def _choose_store(self, stack: ExitStack) -> None:
        """A file, or a server with a proxy before it; and the actors for it."""
        kind, seed, plant = self.options.store, self.options.seed, self.plant
        more: dict[str, Callable[[], Actor]] = {}
        if kind == "postgres":
            server = self._server(stack)
            direct = server.start()
            stack.callback(server.stop)
            proxy = stack.enter_context(Proxy(direct))
            plant.database = PostgresDatabase(proxy.url, direct)
            more = {
                Network.name: lambda: Network(plant, self.book, seed, proxy),
                Crashes.name: lambda: Crashes(plant, self.book, seed, server),
            }
            # A host that has no server until its lease is over ends its jobs, and shims too.
            self.lossy = self.leaders = True
        for name in ACTORS if self.options.actors is None else self.options.actors:
            if kind in ACTORS[name].stores:
                make = more.get(name)
                self._actors.append(make() if make else ACTORS[name](plant, self.book, seed))

    def _server(self, stack: ExitStack) -> Server:
        """A PostgreSQL server of this campaign's own; not started."""
        folder = Path(tempfile.mkdtemp(prefix="chaos-pg-"))
        folder.chmod(0o711)  # as root it runs as another user
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return Server(folder, SETTINGS, stack.enter_context((folder / "log").open("w")))

    def _over(self, part: float) -> bool:
        """Whether this part of the time is over."""
        seconds = self.options.seconds
        return bool(seconds) and time.monotonic() - self._began > part * seconds

    def _prepare(self) -> None:
        for key, value in (("lease", LEASE), ("max-crashes", 50)):
            self._must(self.plant.cli("config", "set", key, f"{value:g}"))
        # Its digest is never due, so what it gathers stays in the store.
        hook = ("hook", "add", "deaths", "--on", "dead", "--digest", "3650d", "--", "true")
        self._must(self.plant.cli(*hook))
        self.plant.database.watch_deletions()
        jobs = [self.plan(self.rng) for _ in range(self.options.jobs)]
        lines = "\n".join(json.dumps(self.job(job, self.rng)) for job in jobs)
        result = self.plant.cli("enqueue", "-", stdin=lines.encode())
        self._must(result)
        self.book.answered(jobs, answer_of(result[0], result[2]))
        self._wanted = sum(job.attempts for job in jobs)
        for _ in range(self.options.supervisors):
            self.plant.start()
        for actor in self._actors:
            actor.start()

    def _stop_actors(self) -> None:
        """Their last acts are done, and what they found is broken here too."""
        for actor in self._actors:
            actor.tell_to_stop()
        for actor in self._actors:
            if actor.started:
                actor.stop()
            self.broken += actor.broken
            self.figures.update(actor.figures)
            self.figures[f"{actor.name}: acts"] = actor.acts
        self._actors = []

    def _must(self, result: tuple[int, str, str]) -> None:
        code, _, err = result
        if code:
            raise RuntimeError(f"queuectl: exit {code}: {err}")

    def _schedule(self) -> list[str]:
        """Cause the faults in order: kills until there are enough, with others in between."""
        faults = tuple(FAULTS) if self.options.faults is None else self.options.faults
        others = [name for name in faults if name != "kill"]
        names = ["kill"] * max(1, self.options.kills // 2) if "kill" in faults else []
        for name in others:
            names += [name] * max(1, self.options.kills // 12)
        self.rng.shuffle(names)
        return names

    def _attack(self) -> None:
        names = self._schedule()
        for number, name in enumerate(names):
            wanted = int(self._wanted * (0.05 + 0.85 * number / len(names)))
            if not self._until_ended(wanted):
                return
            rng = Random(f"{self.options.seed}.{number}")
            self.say(f"{self._ended():6} ended  {FAULTS[name](self, rng)}")
        while self.figures["supervisors killed"] < self.options.kills and "kill" in names:
            ended = self._ended()
            if not self._until_ended(min(ended + 2, self._wanted)):
                return
            self.say(f"{ended:6} ended  {FAULTS['kill'](self, self.rng)}")

    def _acted(self) -> bool:
        """Whether every actor has done enough."""
        return all(actor.acts >= self.options.acts for actor in self._actors)

    def _ended(self) -> int:
        """Attempts of the campaign's own jobs that ended."""
        return (self.plant.place / "log").read_bytes().count(b"\nE j")

    def _until_ended(self, wanted: int) -> bool:
        """Wait until so many attempts ended; False when the attack is over."""
        return self._while_moving(lambda: self._ended() >= wanted, ATTACK)

    def _drain(self) -> None:
        if self.broken:
            return
        if not self.options.supervisors:
            self.plant.start()
        final = "SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead', 'cancelled')"
        if self._while_moving(lambda: self.plant.sql(final) == [(0,)], 1.0, every=0.2):
            self.say("all jobs ended")
        elif not self.broken:
            self.early = True
            self.say("the time is over: what was done so far is judged")

    def _while_moving(self, done: Callable[[], bool], part: float, every: float = 0.02) -> bool:
        """Wait for ``done``; False when something is broken or this part of the time is over."""
        before, moved = (-1, -1), time.monotonic()
        while not done():
            self._tend()
            now = self.plant.log_size(), sum(actor.acts for actor in self._actors)
            if now != before:
                before, moved = now, time.monotonic()
            if time.monotonic() - moved > self.options.patience:
                self.broken.append(f"nothing moved for {self.options.patience:g} s")
                return False
            if self.broken or self._over(part):
                return False
            time.sleep(every)
        return True

    def _tend(self) -> None:
        """Continue what was stopped for long enough, start what is due, and see who has left."""
        now = time.monotonic()
        if self.options.mutate and self._caught():
            self.broken.append(f"{self.options.mutate} was noticed")
        for one in list(self.plant.supervisors):
            if one.stopped_until and now >= one.stopped_until:
                one.process.send_signal(signal.SIGCONT)
                one.stopped_until = 0.0
            if not one.alive:
                said = one.said.read_text("utf-8", "replace").splitlines()[-1:]
                code = one.process.returncode
                if self._found_no_server(one):
                    self.plant.kill(one)
                    self.later(0.3, self.plant.start)
                    self.figures["supervisors that found no server"] += 1
                    continue
                self.broken.append(f"a supervisor left by itself, exit {code}: {said}")
                self.kill(one)
        for actor in self._actors:
            self.broken += actor.broken
            actor.broken = []
        self.do_what_is_due(now)

    def _found_no_server(self, one: Supervisor) -> bool:
        """Whether the server was away when it started: it may say so and leave."""
        ended = one.process.returncode == 5 and not self.plant.is_up(one)
        return ended and self.options.store == "postgres"

    def _caught(self) -> bool:
        """Whether an added bug was found already, so that the rest can be left out."""
        return (
            self.plant.count_log(b"O") > 0
            or any(process.poll() is not None for process in self.strangers)
            or any(word in line for _, line in self.plant.said() for word in UNEXPECTED)
        )

    # -- the end ------------------------------------------------------------------------

    def _conclude(self) -> None:
        if self.options.mutate and self.broken:
            # The bug was found; what runs may take long, and its end shows no more.
            self.plant.kill_everything()
        self._leave()
        dead = [process.pid for process in self.strangers if process.poll() is not None]
        if dead:
            self.broken.append(f"{len(dead)} processes of strangers were ended")
        # Where something broke, not everything was waited for.
        early = self.early or bool(self.broken)
        oracle = Oracle(self.plant, self.book, lossy=self.lossy, early=early)
        oracle.judge(leaders=self.leaders)
        self.broken += oracle.broken
        self.figures.update(oracle.figures)

    def _leave(self) -> None:
        """All supervisors leave when asked to, and nothing stays behind."""
        for background in self.plant.detached():
            try:
                background.terminate()
            except psutil.Error:
                continue
        for one in self.plant.stop_all():
            self.broken.append(f"supervisor {one.process.pid} did not leave on SIGTERM")
        for one in self.plant.gone:
            # A supervisor that gets the signal before it has a handler simply ends.
            terminated = one.process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
            early = terminated and not self.plant.is_up(one)
            code = one.process.returncode
            # It leaves with 5 when it finds no server, or has none for a lease after its last job.
            cut_off = code == 5 and self.options.store == "postgres"
            may_leave = early or cut_off
            if code not in (0, -signal.SIGKILL) and not may_leave:
                said = one.said.read_text("utf-8", "replace").splitlines()[-3:]
                self.broken.append(f"a supervisor ended with exit {code}: {said}")
        # A console that was left may still have been starting workers, whom nobody has asked yet.
        for background in self.plant.detached():
            with contextlib.suppress(psutil.Error):
                background.terminate()
        names = {process: _shown(process) for process in self.plant.processes()}
        _, left = psutil.wait_procs(list(names), timeout=20)
        if left:
            shown = ", ".join(f"{process.pid} {names[process]}" for process in left)
            self.broken.append(f"left behind for 20 s: {shown}")


def _shown(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[-200:]
    except psutil.Error:
        return "gone"
