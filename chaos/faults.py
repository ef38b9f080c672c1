"""What can go wrong, done to a plant. Each fault says in a few words what it did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from random import Random

from queuectl_core.runner.journal_reader import JournalReader

from .book import answer_of
from .plant import Supervisor, until
from .run import Run

LEASE = 2.0
"""Of a campaign: what is stopped for longer loses its jobs."""
CLOCK_STEPS = (-2.0, 5.0, 3600.0, 86400.0)
"""Back only a little for good: a job that waits for its retry waits for a moment on that clock."""


def kill(run: Run, rng: Random) -> str:
    """kill -9 of one supervisor, or several at once."""
    victims = _some(run, rng, [1, 1, 1, 2, 3, len(run.plant.supervisors)])
    for victim in victims:
        victim.process.kill()  # all before the first is waited for
    for victim in victims:
        run.kill(victim)
    background = run.plant.detached() if rng.random() < 0.3 else []
    for one in background:
        _kill_pid(one.pid)
    run.figures["supervisors in the background killed"] += len(background)
    return f"kill -9 of {len(victims)} supervisors"


def stop(run: Run, rng: Random) -> str:
    """SIGSTOP beyond the lease; the campaign sends SIGCONT when the time is over."""
    victims = [one for one in _some(run, rng, [1, 1, 2]) if not one.stopped_until]
    for victim in victims:
        victim.process.send_signal(signal.SIGSTOP)
        victim.stopped_until = time.monotonic() + LEASE * rng.uniform(1.2, 2.0)
    run.figures["supervisors stopped"] += len(victims)
    return f"SIGSTOP to {len(victims)} supervisors"


def cli(run: Run, rng: Random) -> str:
    """kill -9 of verbs under way; what an enqueue acknowledged counts as accepted."""
    batch = [run.plan(rng) for _ in range(5)]
    lines = "\n".join(json.dumps(run.job(job, rng)) for job in batch)
    enqueue = run.plant.start_cli("enqueue", "-", stdin=lines.encode())
    other = run.plant.start_cli(
        *rng.choice((["status"], ["list"], ["config", "set", "lease", "2"]))
    )
    killed = 0
    for process in (enqueue, other):
        try:
            process.communicate(timeout=rng.uniform(0.0, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
    run.book.answered(batch, answer_of(enqueue.returncode, ""))
    run.figures["CLI processes killed"] += killed
    return f"kill -9 of {killed} verbs"


def shim(run: Run, rng: Random) -> str:
    """kill -9 of a shim, and often of its supervisor at the same time."""
    run.lossy = True
    shims = sorted(run.plant.shims().items())
    if not shims:
        return "no shim to kill"
    name, pid = rng.choice(shims)
    rows = run.plant.sql("SELECT pid FROM supervisors WHERE id = ?", name)
    both = rng.random() < 0.6
    parents = [one for one in run.plant.supervisors if both and (one.process.pid,) in rows]
    for parent in parents:
        parent.process.kill()
    _kill_pid(pid)
    for parent in parents:
        run.kill(parent)
    run.figures["shims killed"] += 1
    return f"kill -9 of a shim{' and its supervisor' if parents else ''}"


def halt(run: Run, rng: Random) -> str:
    """SIGSTOP to a shim, as a job may send it; sometimes its supervisors die then."""
    shims = sorted(run.plant.shims().items())
    if not shims:
        return "no shim to stop"
    _signal_pid(rng.choice(shims)[1], signal.SIGSTOP)
    run.figures["shims stopped"] += 1
    return "SIGSTOP to a shim" + (f", {kill(run, rng)}" if rng.random() < 0.3 else "")


def job(run: Run, rng: Random) -> str:
    """kill -9 of a job's own shell."""
    run.leaders = True
    pids = run.plant.jobs_running()
    if not pids:
        return "no job to kill"
    _kill_pid(rng.choice(pids))
    return "kill -9 of a job's shell"


def away(run: Run, rng: Random) -> str:
    """All supervisors are stopped, and started again later. Meanwhile the other users of the
    store are alone with it."""
    seconds = rng.uniform(0.5, 4.0)
    left = run.plant.stop_all()
    if left:
        run.broken.append(f"supervisors {[one.process.pid for one in left]} do not leave")
    for _ in range(run.options.supervisors):
        run.later(seconds, run.plant.start)
    run.figures["all supervisors away"] += 1
    return f"all supervisors leave, for {seconds:.1f} s"


def reboot(run: Run, rng: Random) -> str:
    """Everything dies at once, and the boot has another id."""
    run.lossy = True
    with run.plant.gate:
        _power_cut(run)
        run.plant.sql("UPDATE supervisors SET host_key = 'boot-before:1'")
    run.figures["reboots"] += 1
    return "power cut and reboot"


def reuse(run: Run, rng: Random) -> str:
    """Everything dies, and each pid that was written down belongs to a stranger now."""
    run.lossy = True
    with run.plant.gate:
        _power_cut(run)
        time.sleep(0.1)  # no pid is given away again within a few ticks of the kernel's clock
        _give_pids_away(run)
    run.figures["pids reused"] += 1
    return "power cut, and every pid belongs to a stranger now"


def _give_pids_away(run: Run) -> None:
    for path in run.plant.run.glob("*.journal"):
        journal = JournalReader(run.plant.run, path.stem)
        journal.refresh()
        lines = []
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event[0] == "S" and event[1] not in journal.exits:
                event[2] = run.stranger()
            lines.append(json.dumps(event) + "\n")
        path.write_text("".join(lines))
    run.plant.sql("UPDATE supervisors SET pid = ?", run.stranger())


def clock(run: Run, rng: Random) -> str:
    """The wall clock jumps: forward for good, or a day back and, a second later, right again."""
    wrong = float(run.plant.clock.read_text("ascii"))
    run.figures["clock jumps"] += 1
    if rng.random() < 0.4:
        run.plant.clock.write_text(str(wrong - 86400.0), "ascii")
        run.later(1.0, lambda: run.plant.clock.write_text(str(wrong), "ascii"))
        return "the clock goes back a day, for a second"
    step = rng.choice(CLOCK_STEPS)
    run.plant.clock.write_text(str(wrong + step), "ascii")
    return f"the clock jumps by {step:+g} s"


def output(run: Run, rng: Random) -> str:
    """The output files are deleted under running jobs; at times all that is beside the store."""
    beside = run.plant.run.parent
    # On PostgreSQL this directory says which host this is.
    everything = rng.random() < 0.3 and run.options.store == "sqlite"
    run.lossy = run.lossy or everything  # the journals were there
    shutil.rmtree(beside if everything else beside / "logs", ignore_errors=True)
    run.figures["output deleted"] += 1
    return f"deleted {'the directory beside the store' if everything else 'all output'}"


FAULTS: dict[str, Callable[[Run, Random], str]] = {
    "kill": kill,
    "stop": stop,
    "cli": cli,
    "shim": shim,
    "halt": halt,
    "job": job,
    "away": away,
    "reboot": reboot,
    "reuse": reuse,
    "clock": clock,
    "output": output,
}


def _some(run: Run, rng: Random, sizes: list[int]) -> list[Supervisor]:
    running = run.plant.supervisors
    return rng.sample(running, min(rng.choice(sizes), len(running)))


def _kill_pid(pid: int) -> None:
    _signal_pid(pid, signal.SIGKILL)


def _signal_pid(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _power_cut(run: Run) -> None:
    for victim in list(run.plant.supervisors):
        run.kill(victim)
    # Shims before jobs: whatever a shim saw and wrote would be an outcome that is known.
    for pid in run.plant.shims().values():
        _kill_pid(pid)
    run.plant.kill_everything()
    until(lambda: not run.plant.shims(), 5.0)
