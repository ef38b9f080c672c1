"""Completion: what is suggested, and whether the scripts work in the shells that are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import Cli


def offered(cli: Cli, line: str) -> list[str]:
    """What our bash script receives for a line: ``kind,value``."""
    env = {"_QUEUECTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "-1"}
    return cli(env=env).out.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("queuectl enqueue --file ", "file"),
        ("queuectl enqueue --cwd ", "dir"),
        ("queuectl backup ", "file"),
        ("queuectl restore ", "file"),
        ("queuectl --store ", "file"),
        ("queuectl store copy --to ", "file"),
    ],
)
def test_files_are_the_shells_to_complete(cli: Cli, line: str, kind: str) -> None:
    (one,) = offered(cli, line)
    assert one.startswith(f"{kind},")


def test_values(cli: Cli) -> None:
    for name in ("mail:a", "mail:b"):
        cli("enqueue", "exit 1", "--id", name, "--max-retries", "1")
    cli("worker", "start", "--until-empty")
    cli("enqueue", "x", "--id", "mail:c")
    assert offered(cli, "queuectl list --state pending,f") == ["plain,pending,failed"]
    assert offered(cli, "queuectl show mail:") == [
        "plain,mail:c",
        "plain,mail:b",
        "plain,mail:a",
    ]
    assert offered(cli, "queuectl dlq retry m") == ["plain,mail:b", "plain,mail:a"]
    cli("queue", "set", "mail", "--limit", "1")
    cli("enqueue", "x", "--id", "other", "--queue", "default", "--hold")
    for words in ("queue pause", "queue show", "list --queue", "enqueue --queue", "edit a --queue"):
        assert offered(cli, f"queuectl {words} ma") == ["plain,mail"]
    assert offered(cli, "queuectl hold --queue mail,d") == ["plain,mail,default"]
    assert offered(cli, "queuectl enqueue --after x,oth") == ["plain,x,other"]
    assert offered(cli, "queuectl enqueue --on-conflict r") == ["plain,replace"]
    assert offered(cli, "queuectl list --state w") == ["plain,waiting"]
    for verb in ("why", "hold", "release", "edit"):
        assert offered(cli, f"queuectl {verb} oth") == ["plain,other"]
    assert offered(cli, "queuectl version") == [""], "other spellings are not offered"


def shell(cli: Cli, tmp_path: Path, name: str, *words: str) -> str:
    """What a shell prints, with ``queuectl`` as a command."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} here")
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    run = tools / "queuectl"
    run.write_text(f'#!/bin/sh\nexec {sys.executable} -m queuectl_tui "$@"\n')
    run.chmod(0o755)
    script = tmp_path / f"script.{name}"
    script.write_text(cli("completion", name).out)
    env = cli.environment({"PATH": f"{tools}:{os.environ['PATH']}", "SCRIPT": str(script)})
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [program, *words], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert not done.stderr
    return done.stdout


def test_bash_replaces_only_what_follows_a_colon(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "x", "--id", "mail:a")
    run = (
        'source "$SCRIPT"; COMP_LINE="queuectl show mail:"; COMP_POINT=${#COMP_LINE}; '
        '_queuectl_completion queuectl; echo "${COMPREPLY[*]}"'
    )
    assert shell(cli, tmp_path, "bash", "--norc", "-c", run) == "a\n"
    run = run.replace("queuectl show mail:", "queuectl list --state=pending,f")
    assert shell(cli, tmp_path, "bash", "--norc", "-c", run) == "pending,failed\n"


def test_fish_shows_descriptions_with_commas(cli: Cli, tmp_path: Path) -> None:
    run = 'source $SCRIPT; complete -C "queuectl d"; complete -C "queuectl list --state a,d"'
    shown = shell(cli, tmp_path, "fish", "--no-config", "-c", run)
    assert "dlq\tList, retry or purge the jobs that failed for good." in shown
    assert "a,dead" in shown


def test_zsh_without_compinit(cli: Cli, tmp_path: Path) -> None:
    run = 'source "$SCRIPT"; print -r -- $_comps[queuectl]'
    assert shell(cli, tmp_path, "zsh", "-f", "-c", run) == "_queuectl_completion\n"
