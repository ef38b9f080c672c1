"""What jobs write, with real processes: through a pipe, within the limit, from left processes."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

from tests.support import Cli, eventually, marked

MARK = re.compile(rb"\n\[queuectl: (\d+) bytes dropped here, output-limit is (\d+)\]\n")
MIB = 1 << 20


def drain(cli: Cli, count: int = 1) -> None:
    """Workers in the foreground until the queue is empty."""
    cli("worker", "start", "--count", str(count), "--until-empty", timeout=120)


def attempt(cli: Cli, ref: str) -> dict[str, Any]:
    """A job's last attempt, as ``show --json`` tells it."""
    found: dict[str, Any] = cli.json("show", ref)["history"][-1]
    return found


def add(cli: Cli, ref: str, command: str, *options: str) -> None:
    cli("enqueue", json.dumps({"id": ref, "command": command}), *options)


def output_file(cli: Cli, number: int = 1) -> Path:
    """The file of the first attempt of the job ``number``."""
    return cli.directory / f"logs/0/{number}.1.log"


def test_a_job_may_open_its_standard_streams_anew(cli: Cli) -> None:
    add(cli, "a", "echo one; echo two > /dev/stderr; echo three | tee /dev/stderr; "
        "echo four > /dev/stdout; echo five >&2; echo six")  # fmt: skip
    drain(cli)
    assert cli("logs", "a").out == "one\ntwo\nthree\nthree\nfour\nfive\nsix\n"


def test_bytes_are_kept_as_they_are(cli: Cli) -> None:
    add(cli, "a", r"printf 'a\377\376\000b\r\n'; sleep 0.05; printf '\303'; printf '\251'")
    drain(cli)
    assert output_file(cli).read_bytes() == b"a\xff\xfe\0b\r\n\xc3\xa9"
    assert attempt(cli, "a")["output_bytes"] == 9


def test_5_gb_on_a_limit_of_1_mib(cli: Cli) -> None:
    add(cli, "a", "echo begin; head -c 5G /dev/zero; echo; echo end", "--output-limit", "1M")
    worker = cli.start("worker", "start", "--until-empty")
    path = cli.directory / "logs/0/1.1.log" if isinstance(cli.store, Path) else None
    largest = 0
    while worker.poll() is None:
        if path is None:
            with contextlib.suppress(FileNotFoundError):  # no directory yet, or no file
                path = output_file(cli)
        elif path.exists():
            try:
                largest = max(largest, path.stat().st_blocks * 512)
            except FileNotFoundError:
                pass
        time.sleep(0.005)
    assert worker.wait() == 0
    total = len("begin\n") + (5 << 30) + len("\nend\n")
    assert attempt(cli, "a")["output_bytes"] == total
    assert 0 < largest <= 4 * MIB
    kept = output_file(cli).read_bytes()
    assert len(kept) <= MIB
    assert kept.startswith(b"begin\n\0")
    assert kept.endswith(b"\0\nend\n")
    (mark,) = MARK.finditer(kept)
    assert int(mark[1]) + len(kept) - len(mark[0]) == total
    assert int(mark[2]) == MIB


def test_what_a_daemon_writes_has_the_limit_once_more(cli: Cli) -> None:
    add(cli, "a", "head -c 50000 /dev/zero | tr '\\0' x; (sleep 0.3; yes late) & echo $! > pid",
        "--output-limit", "64K")  # fmt: skip
    drain(cli)
    path = output_file(cli)
    eventually(lambda: b"bytes dropped here" in path.read_bytes())
    kept = path.read_bytes()
    assert kept.startswith(b"x" * 50000 + b"late\n")
    assert len(kept) <= 50000 + 65536 + 100
    size = path.stat().st_size
    for process in marked(cli.token):
        if process.name() == "yes":
            process.kill()
    assert path.stat().st_size == size
    assert attempt(cli, "a")["output_bytes"] == 50000
