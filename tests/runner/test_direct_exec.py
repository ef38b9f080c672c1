"""Commands that need no shell: which they are, and that nobody can tell the difference."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.model import Job
from queuectl_core.queue import Queue
from queuectl_core.runner.direct_exec import BUILTINS, plain_words

from ..supervisor.conftest import Run


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("true", ["true"]),
        (" sleep  0.1 ", ["sleep", "0.1"]),
        ("rsync -a --delete host:/a/b=c /d", ["rsync", "-a", "--delete", "host:/a/b=c", "/d"]),
        ("./run.sh 50%", ["./run.sh", "50%"]),
    ],
)
def test_plain(command: str, words: list[str]) -> None:
    assert plain_words(command, "/bin/sh") == words


@pytest.mark.parametrize(
    "command",
    [
        "",
        " ",
        "a; b",
        "a b\nc",
        "a\tb",
        "echo hi",
        "exit 3",
        "kill 1",
        "A=1 env",
        "ls *",
        "ls ~",
        "ls {a,b}",
        "ls a?",
        "echo $HOME",
        "a > b",
        "a & b",
        "a 'b'",
        "a # b",
        "a \\b",
        "naïve",
        "if true",
        "! true",
        "[ 1 ]",
    ],
)
def test_for_a_shell(command: str) -> None:
    assert plain_words(command, "/bin/sh") is None


def test_another_shell_is_always_asked() -> None:
    assert plain_words("true", "/bin/bash") is None


def test_a_function_in_the_environment_is_for_a_shell() -> None:
    assert plain_words("true", "/bin/sh", ["A", "BASH_FUNC_true%%"]) is None


@given(st.text(st.characters(max_codepoint=0x24F), max_size=20))
def test_plain_words_are_what_a_shell_would_make_of_them(command: str) -> None:
    words = plain_words(command, "/bin/sh")
    if words is not None:
        assert words == shlex.split(command)
        assert words[0] not in BUILTINS
        assert "=" not in words[0]


def test_every_builtin_of_this_shell_is_left_to_it() -> None:
    """What the shell says it is itself, of all we would start ourselves, is alike outside."""
    same = {"true", "false"}
    names = sorted({p.name for d in os.get_exec_path() for p in Path(d).glob("*")} | same)
    script = 'while read -r name; do command -V "$name"; done'
    told = subprocess.run(
        ["/bin/sh", "-c", script],
        check=False,
        input="\n".join(names),
        capture_output=True,
        text=True,
    ).stdout
    builtin = {line.split()[0] for line in told.splitlines() if "builtin" in line}
    assert {name for name in builtin if plain_words(name, "/bin/sh")} <= same


async def output(queue: Queue, job: Job) -> bytes:
    return (await queue.output(await queue.find(job.id))).read(0, 1 << 20)


async def test_the_environment_is_what_a_shell_passes_on(queue: Queue, run: Run) -> None:
    """The same program, once plain and once not (for the semicolon)."""
    jobs = await queue.enqueue(["env", "env;"])
    await run()
    plain, shell = [sorted((await output(queue, job)).splitlines()) for job in jobs]
    different = {line.partition(b"=")[0] for line in set(plain) ^ set(shell)}
    # The job's own, and what bash sets where it is /bin/sh.
    own = {b"QUEUECTL_JOB_ID", b"QUEUECTL_PROGRESS", b"QUEUECTL_RESULT"}
    assert different <= own | {b"SHLVL", b"_", b"OLDPWD"}


async def test_what_cannot_be_run_is_left_to_the_shell_to_explain(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "script").write_text("echo from a script without a first line\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "data").write_text("x")
    jobs = await queue.enqueue(
        [
            {"command": command, "max_retries": 1, "cwd": str(tmp_path)}
            for command in ("no-such-command --at all", "./script", "./data", "./nothing")
        ]
    )
    await run()
    found = [await queue.find(job.id) for job in jobs]
    assert [job.exit_code for job in found] == [127, 0, 126, 127]
    assert b"not found" in await output(queue, jobs[0])
    assert await output(queue, jobs[1]) == b"from a script without a first line\n"
    assert b"ermission denied" in await output(queue, jobs[2])


async def test_a_program_is_found_on_the_jobs_own_path(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "tool").chmod(0o755)
    jobs = await queue.enqueue(
        [
            {"command": "tool", "env": {"PATH": f"{tmp_path}/{name}:/usr/bin:/bin"}}
            for name in ("one", "two")
        ]
    )
    await run()
    assert [await output(queue, job) for job in jobs] == [b"one\n", b"two\n"]
