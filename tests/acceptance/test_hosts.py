"""Several hosts on one database: here each is a name, and a home that the others do not see."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.runner import lease_clock
from tests.store.proxy import Proxy
from tests.support import Cli, eventually, eventually_async, kill_marked

NewHost = Callable[..., Cli]

JOBS = int(os.environ.get("HOST_JOBS", "300"))
"""For two hosts to share; the full form has 2000."""

ALONE = """
trap '' TERM
test -e pid.$1 && kill -0 $(cat pid.$1) 2>/dev/null && echo $1 >> overlaps
echo $$ > pid.$1
echo $QUEUECTL_WORKER >> starts.$1
until test -e go; do sleep 0.02; done
echo $1 >> ends
"""
"""A job that does not end when it is asked to, and notes if another of its name is running."""


@pytest.fixture
def new_host(database: str, tmp_path: Path) -> Iterator[NewHost]:
    """``new_host("one")``: queuectl on a host of that name; all share the working directory."""
    made: list[Cli] = []

    def make(name: str, url: str = database) -> Cli:
        home = tmp_path / "homes" / name
        env = {"QUEUECTL_HOST": name, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}
        made.append(Cli(url, tmp_path, env=env))
        return made[-1]

    yield make
    for host in made:
        host.close()


def history(host: Cli, ref: str) -> list[tuple[str, str]]:
    """How each attempt of a job ended, and where."""
    return [(a["outcome"], a["host"]) for a in host.json("show", ref)["history"]]


def hosts_of_workers(host: Cli) -> Counter[str]:
    """How many workers are up on each host."""
    return Counter(w["host"] for w in host.json("worker", "list") if w["state"] != "lost")


def workers_by_doctor(host: Cli) -> str:
    """What doctor says of the workers."""
    findings = host.json("doctor", code=None)
    return next(str(one["message"]) for one in findings if one["check"] == "workers")


def test_jobs_of_two_hosts_run_exactly_once(new_host: NewHost, tmp_path: Path) -> None:
    one, two = new_host("one"), new_host("two")
    for host in (one, two):
        host("worker", "start", "-d", "--count", "4")
    assert hosts_of_workers(one) == {"one": 4, "two": 4}
    ran = tmp_path / "ran"
    lines = [f'{{"id": "j{i}", "command": "echo {i} >> {ran}"}}\n' for i in range(JOBS)]
    one("enqueue", "-", stdin="".join(lines))
    one("wait", "--all")
    assert sorted(ran.read_text().split(), key=int) == [str(i) for i in range(JOBS)]
    jobs = two.json("list")
    assert {(job["state"], job["attempts"]) for job in jobs} == {("completed", 1)}
    assert len({job["worker"].split("-")[0] for job in jobs}) == 2  # each of them did some


def test_workers_are_started_here_and_stopped_by_host(new_host: NewHost) -> None:
    one, two = new_host("one"), new_host("two")
    one("worker", "start", "-d")
    two("worker", "start", "-d")
    two("worker", "start", "-d")
    found = one.json("worker", "list")
    assert Counter(worker["host"] for worker in found) == {"one": 1, "two": 2}
    assert len({worker["pid"] for worker in found if worker["host"] == "two"}) == 1
    (name,) = (worker["id"] for worker in found if worker["host"] == "one")
    missing = one("worker", "stop", "--host", "three", code=3)
    assert missing.err.startswith("queuectl: ")
    assert "three" in missing.err
    assert len(missing.err.splitlines()) == 1
    assert two("worker", "stop", name, "--host", "two", code=3).err
    one("worker", "stop", "--host", "two")
    assert hosts_of_workers(two) == {"one": 1}
    two("worker", "stop", name, "--host", "one")
    assert hosts_of_workers(two) == {}


def test_output_is_live_on_its_host_and_its_end_anywhere(new_host: NewHost, tmp_path: Path) -> None:
    one, two = new_host("one"), new_host("two")
    one("worker", "start", "-d")
    command = "yes 0123456789 | head -c 200000; echo said; until test -e go; do sleep 0.02; done"
    two("enqueue", "--id", "j", command)
    eventually(lambda: one("logs", "j").out.endswith("said\n"))
    running = two("logs", "j")
    assert running.out == ""
    assert "it runs on host one" in running.err
    following = two.start("logs", "j", "--follow")
    (tmp_path / "go").touch()
    out, err = following.communicate(timeout=30)
    assert following.returncode == 0
    assert out.endswith("said\n")
    assert len(out) == 1 << 16
    ended = two("logs", "j")
    assert ended.out == out
    assert "last 64" in ended.err
    assert "the whole output is on host one" in ended.err
    assert "the whole output is on host one" in err
    whole = one("logs", "j")
    assert len(whole.out) == 200_005
    assert whole.err == ""


def test_a_host_that_is_gone_loses_nothing(new_host: NewHost, tmp_path: Path) -> None:
    """Supervisor, shim and jobs are killed, as when the power fails."""
    one, two = new_host("one"), new_host("two")
    (tmp_path / "job.sh").write_text(ALONE)
    one("config", "set", "lease", "2")
    one("worker", "start", "-d", "--count", "4")
    lines = [f'{{"id": "j{i}", "command": "sh job.sh {i}"}}\n' for i in range(40)]
    one("enqueue", "-", stdin="".join(lines))
    eventually(lambda: len(list(tmp_path.glob("starts.*"))) == 4)
    kill_marked(one.token)
    eventually(lambda: "4 lost: 4 on one (last heard of " in workers_by_doctor(two))
    two("worker", "start", "-d", "--count", "4")
    (tmp_path / "go").touch()
    two("wait", "--all")
    assert sorted((tmp_path / "ends").read_text().split(), key=int) == [str(i) for i in range(40)]
    jobs = two.json("list")
    assert {job["state"] for job in jobs} == {"completed"}
    lost = [job for job in jobs if job["crashes"]]
    assert len(lost) == 4
    for job in lost:
        assert history(two, job["id"]) == [("crashed", "one"), ("completed", "two")]
    assert not (tmp_path / "overlaps").exists()
    assert hosts_of_workers(two) == {"two": 4}


@pytest.mark.parametrize("silently", [False, True])
async def test_what_ended_on_a_host_cut_off_is_refused_and_runs_again(
    new_host: NewHost, database: str, tmp_path: Path, silently: bool
) -> None:
    """Its connections break, or stay and carry nothing: then what it said arrives late."""
    (tmp_path / "job.sh").write_text(ALONE)

    async def call(host: Cli, *args: str, **options: Any) -> Any:
        return await asyncio.to_thread(host, *args, **options)

    async with Proxy(database) as proxy:
        one, two = new_host("one", proxy.url), new_host("two")
        await call(two, "config", "set", "lease", "2")
        await call(one, "worker", "start", "-d", "--count", "2")
        await call(two, "enqueue", "--id", "long", "sh job.sh long")
        await call(two, "enqueue", "--id", "short", "echo >> short; until test -e cut; do :; done")
        await eventually_async(lambda: exist(tmp_path / "starts.long", tmp_path / "short"))
        if silently:
            proxy.swallow()
        else:
            proxy.down = True
            proxy.break_all()
        (tmp_path / "cut").touch()
        await call(two, "worker", "start", "-d", "--count", "2")
        starts = tmp_path / "starts.long"
        await eventually_async(lambda: holds(lambda: len(starts.read_text().split()) == 2))
        (tmp_path / "go").touch()
        await call(two, "wait", "--all")
        proxy.mend()

        async def is_back() -> bool:
            return (await asyncio.to_thread(hosts_of_workers, two)) == {"one": 2, "two": 2}

        await eventually_async(is_back)
        await call(one, "worker", "stop", "--host", "one")
    for job in ("long", "short"):
        assert history(two, job) == [("crashed", "one"), ("completed", "two")], job
    assert (tmp_path / "ends").read_text() == "long\n"
    assert len((tmp_path / "short").read_text().splitlines()) == 2
    assert not (tmp_path / "overlaps").exists()


async def exist(*paths: Path) -> bool:
    return all(path.exists() for path in paths)


async def holds(condition: Callable[[], bool]) -> bool:
    return condition()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_job_never_outlives_its_supervisors_lease(
    new_host: NewHost, tmp_path: Path, number: signal.Signals
) -> None:
    """Only the supervisor is gone, or stands still: its shim ends the job in time."""
    one, two = new_host("one"), new_host("two")
    (tmp_path / "job.sh").write_text(ALONE)
    one("config", "set", "lease", "2")
    one("worker", "start", "-d")
    one("enqueue", "--id", "j", "sh job.sh j")
    starts = tmp_path / "starts.j"
    eventually(starts.exists)
    (worker,) = one.json("worker", "list")
    two("worker", "start", "-d")
    os.kill(worker["pid"], number)
    eventually(lambda: len(starts.read_text().split()) == 2)
    (tmp_path / "go").touch()
    two("wait", "--all")
    assert history(two, "j") == [("crashed", "one"), ("completed", "two")]
    assert not (tmp_path / "overlaps").exists()


def test_a_running_job_is_adopted_on_its_own_host(new_host: NewHost, tmp_path: Path) -> None:
    """And it goes on for longer than the lease of the supervisor that started it.

    Its heir is up before it is killed, just after it renewed its lease: the heir has four seconds
    to look for it, which it does every second.
    """
    one = new_host("one")
    (tmp_path / "job.sh").write_text(ALONE)
    one("config", "set", "lease", "6")
    one("enqueue", "--id", "j", "sh job.sh j")
    first = one.start("worker", "start")
    eventually((tmp_path / "starts.j").exists)
    one("worker", "start", "-d")
    name = (tmp_path / "starts.j").read_text().split("-")[0]
    lease = one.directory / "run" / f"{name}.lease"
    eventually(lease.exists)  # the shim was started with its first lease; the file has later ones
    before = lease.read_text()
    eventually(lambda: lease.read_text() != before)
    first.kill()
    first.wait()
    end = float(lease.read_text().split()[1])  # when its job would be killed
    eventually(lambda: lease_clock() > end)
    (tmp_path / "go").touch()
    one("wait", "--all")
    assert history(one, "j") == [("completed", "one")]
    assert (tmp_path / "starts.j").read_text().count("\n") == 1
    one("worker", "stop")
    eventually(lambda: not lease.exists())


WRONG_CLOCK = """
import datetime, os, time
OFF = float(os.environ["TEST_CLOCK_OFF"])
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + OFF
time.time_ns = lambda: real_ns() + int(OFF * 1e9)
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
    @classmethod
    def utcnow(cls):
        return cls.utcfromtimestamp(time.time())
datetime.datetime = Shifted
open(os.path.join(os.environ["TEST_CLOCK_NOTES"], str(os.getpid())), "w").close()
"""
"""A ``sitecustomize`` that moves the wall clock of a process."""


@pytest.mark.parametrize("off", [-3600, 3600])
def test_a_host_whose_wall_clock_is_wrong_goes_by_the_servers(
    new_host: NewHost, tmp_path: Path, off: int
) -> None:
    """When attempts began and ended, how long they took, and when a retry is due."""
    notes, moved = tmp_path / "notes", tmp_path / "moved"
    for directory in (notes, moved):
        directory.mkdir()
    (moved / "sitecustomize.py").write_text(WRONG_CLOCK)
    right, wrong = new_host("right"), new_host("wrong")
    path = os.pathsep.join(filter(None, (str(moved), os.environ.get("PYTHONPATH"))))
    wrong.env |= {
        "PYTHONPATH": path,
        "TEST_CLOCK_OFF": str(off),
        "TEST_CLOCK_NOTES": str(notes),
    }
    began = time.time()
    wrong("config", "set", "backoff-jitter", "0")
    up = wrong.json("worker", "start", "-d")
    wrong("enqueue", "--id", "w", "sleep 0.3; exit 1", "--max-retries", "2")
    wrong("enqueue", "--id", "later", "true", "--delay", "2s")
    right("wait", "w", "later", code=1)
    ended = time.time()
    supervisors = right.json("worker", "list")
    assert (notes / str(supervisors[0]["pid"])).exists(), f"its clock was not moved: {up}"
    for ref, attempts in (("w", 2), ("later", 1)):
        job = right.json("show", ref)
        assert len(job["history"]) == attempts
        times = [job[key] for key in ("created_at", "updated_at", "started_at", "finished_at")]
        times += [one[key] for one in job["history"] for key in ("started_at", "finished_at")]
        for moment in [*map(seconds, times), seconds(job["run_at"])]:
            assert began - 1 < moment < ended + 1
    later = right.json("show", "later")
    assert 1.5 < seconds(later["run_at"]) - seconds(later["created_at"]) < 2.5
    assert seconds(later["started_at"]) >= seconds(later["run_at"]) - 0.01
    first, second = right.json("show", "w")["history"]
    for one in (first, second):
        assert 0.25 < seconds(one["finished_at"]) - seconds(one["started_at"]) < 10
    due = seconds(right.json("show", "w")["run_at"])
    assert abs(due - seconds(first["finished_at"]) - 2.0) < 0.1
    assert seconds(second["started_at"]) >= due - 0.01


def seconds(shown: str) -> float:
    """A time of ``--json``, as seconds since the epoch."""
    return datetime.fromisoformat(shown).timestamp()


def test_twelve_starts_at_once_make_one_supervisor(new_host: NewHost) -> None:
    """On a host where nothing has run before, as twelve terminals would."""
    host = new_host("one")
    starts = [host.start("worker", "start", "-d") for _ in range(12)]
    ended = [(start.communicate(timeout=120), start.returncode) for start in starts]
    assert [code for _, code in ended] == [0] * 12, ended
    found = host.json("worker", "list")
    assert len({worker["id"] for worker in found}) == 12
    assert len({worker["pid"] for worker in found}) == 1
    assert {worker["state"] for worker in found} == {"idle"}
