"""Values of ``env`` and passwords: where they must not be seen."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import psutil
import pytest

from ..support import Cli, eventually

SECRET = "s3cret-4711"


def test_env_is_neither_listed_nor_logged_nor_in_the_process_list(
    cli: Cli, store_path: Path
) -> None:
    secret = uuid.uuid4().hex  # other tests put theirs into command lines on purpose
    cli("config", "set", "log-level", "debug")
    job = {"id": "x", "command": "exec sleep 300", "env": {"TOKEN": secret}}
    cli("enqueue", "-", stdin=json.dumps(job))
    cli("worker", "start", "--detach")
    eventually(lambda: cli.json("show", "x")["state"] == "processing")
    shown = [
        cli(*words)
        for verb in (("list",), ("show", "x"), ("status",), ("worker", "list"), ("doctor",))
        for words in (verb, (*verb, "--json"))
    ]
    assert not [result.args for result in shown if secret in result.out + result.err]
    for process in psutil.process_iter():
        try:
            assert not any(secret in word for word in process.cmdline())
        except psutil.Error:
            continue
    cli("worker", "stop", "--now")
    logged = Path(f"{store_path}.d") / "supervisor.log"
    assert "job x" in logged.read_text()
    assert secret not in logged.read_text()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@127.0.0.1:1/db",
        f"postgres://me:{SECRET}@127.0.0.1:1/db",
        f"mysql://me:{SECRET}@host/db",
        f"postgres:/me:{SECRET}@host/db",
        f"postgresql:me:{SECRET}@host/db",
        f"sqlite://me:{SECRET}@host/db",
    ],
)
@pytest.mark.parametrize(
    "words",
    [("list",), ("enqueue", "true"), ("doctor",), ("doctor", "--repair"), ("worker", "list")],
)
def test_a_password_in_a_store_url_is_never_shown(
    cli: Cli, url: str, words: tuple[str, ...]
) -> None:
    for shown in (
        cli("--store", url, *words, "-v", code=None),
        cli(*words, env={"QUEUECTL_STORE": url}, code=None),
    ):
        known = url.startswith(("postgres://", "postgresql://"))
        assert shown.code == ((1 if words[0] == "doctor" else 5) if known else 2)
        assert SECRET not in shown.out + shown.err
