"""``queuectl hook`` on both stores, and deliveries to a real server by real jobs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal as signals
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.hooks import EVENTS, HookInfo, signature
from queuectl_core.operations import hooks
from queuectl_core.operations.deliver import post, read_key
from queuectl_core.operations.hooks import OUTPUT_LIMIT, new_hook, try_out
from queuectl_tui.cli.output import PrettyListing, Stdout, View
from queuectl_tui.presentation.hooks import HOOK_COLUMNS

from ..support import Cli, eventually_async
from ..webhook import Receiver, receiver
from .conftest import Here, Near
from .test_globals import one_line

HOSTILE = "'\"; $(touch pwned) `touch pwned` \x1b]0;x\x07 [red] <b>\u202e"


@pytest.fixture
def cli(on_each_store: Near) -> Near:
    return on_each_store


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def deliveries(cli: Cli) -> list[dict[str, Any]]:
    return list(cli.json("list", "--queue", "hooks"))


def run_all(cli: Cli) -> None:
    cli("worker", "start", "--until-idle", "-q")


# -- the verbs ----------------------------------------------------------------------------


def test_a_hook_is_added_listed_changed_and_removed(cli: Cli) -> None:
    options = ("--on", "dead", "--on", "job.failed")
    made = json.loads(cli("hook", "add", "mail", *options, "--json", "--", "cat", "-n").out)
    assert made["events"] == ["dead", "failed"]
    assert (made["command"], made["paused"]) == (["cat", "-n"], False)
    assert cli.json("hook", "list") == [cli.json("hook", "show", "mail")]
    assert cli("hook", "add", "mail", "--on", "dead", "--", "cat", code=4).err
    paused = cli.json("hook", "pause", "mail", "--reason", HOSTILE)
    assert paused["paused_by"]
    assert paused["paused_reason"].isprintable()
    assert "paused" in cli("hook", "list").out
    assert paused["paused_reason"] in cli("hook", "list").out
    assert cli.json("hook", "pause", "mail") == paused, "the reason is kept"
    assert cli.json("hook", "resume", "mail")["paused"] is False
    cli("hook", "remove", "mail")
    for verb in ("show", "pause", "resume", "remove", "test"):
        assert "no such hook" in one_line(cli("hook", verb, "mail", code=3).err)
    assert cli.json("hook", "list") == []


@pytest.mark.parametrize(
    "words",
    [
        "--on dead",
        "--on dead --url http://h/ -- cat",
        "--url http://h/",
        "--on deadd -- cat",
        "--on dead --url file:///etc/passwd",
        "--on dead --secret-file k -- cat",
        "--on dead --queue hooks -- cat",
        "--on dead --digest 0 -- cat",
        "--on dead --timeout 0 -- cat",
        "--on dead --max-retries 10001 -- cat",
        "--on dead -p 1000001 -- cat",
        "--on dead --",
    ],
)
def test_a_hook_that_cannot_work_is_refused(cli: Cli, words: str) -> None:
    cli("enqueue", "true")
    assert one_line(cli("hook", "add", "x", *words.split(), code=2).err)
    assert cli.json("hook", "list") == []


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_the_table_shows_the_state_and_the_target_of_a_hook_with_many_events(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    made = new_hook("mail", EVENTS, 0.0, cwd="/", command=["notify"], queue="nightly")
    paused = made._replace(name="chat", paused_at=0.0, paused_by="ops", paused_reason="410")
    out = Stdout()
    view: View[HookInfo] = View(lambda info, _: {}, HOOK_COLUMNS)
    shown = PrettyListing(out, view, lambda: 60.0, header=True)
    for one in (made, paused):
        shown.add(HookInfo(one, 12))
    shown.end()
    text = re.sub(r"\x1b\[[0-9;]*m", "", "".join(out._pending))
    for word in ("mail", "active", "paused", "notify"):
        assert word in text, text
    assert columns < 60 or "ago: 410" in text, text
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"env": {"A=B": "x"}}, "env name 'A=B' is not allowed"),
        ({"env": {"A": 5}}, "env A must be text, not a number"),
        ({"env": {"A": "a\0b"}}, "NUL"),
        ({"max_retries": 20_000}, "max_retries must be a whole number from 0 to 10000"),
        ({"priority": 99_999_999}, "priority must be"),
        ({"command": ["\ud800"]}, "UTF-8"),
        ({"command": [""]}, "command is empty"),
        ({"command": "true"}, "list of texts"),
        ({"cwd": ""}, "the current directory is gone"),
        ({"command": (), "url": "http://h/", "secret_file": "a\0"}, "NUL"),
    ],
)
def test_a_delivery_is_held_to_the_rules_of_jobs(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        new_hook("h", ["dead"], 0.0, **{"cwd": "/", "command": ["true"]} | given)


def test_urls_are_masked_unless_asked_for(cli: Cli) -> None:
    url = "https://me:pw@chat.example.org/services/TOP/SECRET"
    cli("hook", "add", "chat", "--on", "dead", "--url", url)
    for verb in (("list",), ("show", "chat"), ("list", "--json"), ("show", "chat", "--json")):
        out = cli("hook", *verb).out
        assert "SECRET" not in out
        assert "pw" not in out
        assert url in cli("hook", *verb, "--show-url").out


def test_values_of_env_are_masked_unless_asked_for(here: Here) -> None:
    add = ("hook", "add", "--on", "dead", "--env", "TOK=hush hush")
    here(*add, "cmd", "--", "true")
    here(*add, "chat", "--url", "http://h/", "--secret-file", "k")
    for name in ("cmd", "chat"):
        assert json.loads(here("hook", "show", name, "--json").out)["env"] == {"TOK": "***"}
        assert "env\tTOK=***\n" in here("hook", "show", name).out
        assert "env\tTOK=hush hush\n" in here("hook", "show", name, "--show-env").out
        shown = here("hook", "show", name, "--show-env", "--json").out
        assert json.loads(shown)["env"] == {"TOK": "hush hush"}


def test_a_test_prints_the_answer_and_fails_if_it_was_not_accepted(
    cli: Cli, server: Receiver
) -> None:
    cli("hook", "add", "good", "--on", "dead", "--url", f"{server.url}/200")
    cli("hook", "add", "bad", "--on", "worker.lost", "--url", f"{server.url}/500")
    cli("hook", "add", "command", "--on", "dead", "--digest", "1m", "--", "sh", "-c", "cat; exit 3")
    assert cli("hook", "test", "good").out == "thanks\nHTTP 200 OK\n"
    assert cli("hook", "test", "bad", code=1).out.endswith("HTTP 500 Internal Server Error\n")
    found = cli.json("hook", "test", "command", code=1)
    assert (found["accepted"], found["exit_code"], found["said"]) == (False, 3, "exit 3")
    assert json.loads(found["output"])["kind"] == "digest"
    assert json.loads(found["output"])["detail"]["test"] is True
    assert deliveries(cli) == [], "a test is no job"
    assert json.loads(server.got[0].content)["detail"]["test"] is True


def test_the_deliveries_of_a_hook_are_found_and_no_others(cli: Cli) -> None:
    for name, target in (
        ("chat", ("--url", "http://h/chat")),
        ("chat2", ("--url", "http://h/")),
        ("a.chat", ("--", "chat", "chat")),
        ("b", ("--", "chat", "other")),
    ):
        cli("hook", "add", name, "--on", "cancelled", *target)
    cli("enqueue", "true", "--id", "chat", "--hold")
    cli("cancel", "chat")
    assert len(deliveries(cli)) == 4
    for name in ("chat", "chat2", "a.chat", "b"):
        line = re.search(r"^deliveries\tqueuectl (.*)$", cli("hook", "show", name).out, re.M)
        assert line is not None
        [found] = cli.json(*shlex.split(line[1]))
        assert found["id"].startswith(f"hook:{name}:")


# -- real deliveries ------------------------------------------------------------------------


def test_deliveries_reach_a_url_signed_and_hostile_text_is_data(
    cli: Cli, server: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"secret key")
    cli("hook", "add", "url", "--on", "dead", "--url", f"{server.url}/200", "--secret-file", "key")
    cli("hook", "add", "keep", "--on", "dead", "--", "tee", str(tmp_path / "kept"))
    program = tmp_path / "hostile"
    program.write_bytes(b"#!/bin/sh\nprintf '\\377\\000\\033]0;x\\007'; cat \"$0\"; exit 1\n")
    program.chmod(0o700)
    command = [str(program), HOSTILE, "x" * 100_000]
    cli("enqueue", json.dumps({"id": "a", "command": command, "max_retries": 1}))
    run_all(cli)
    assert {job["state"] for job in deliveries(cli)} == {"completed"}
    [got] = server.got
    kept = json.loads((tmp_path / "kept").read_bytes())
    assert kept | {"hook": "url"} == json.loads(got.content)
    assert kept["job"] == "a"
    assert kept["detail"]["command"] == [str(program)]
    assert kept["detail"]["output"].startswith("\ufffd\0\x1b]0;x\x07#!/bin/sh")
    assert not (tmp_path / "pwned").exists()
    name, at = got.headers["webhook-id"], int(got.headers["webhook-timestamp"])
    assert name in {job["id"] for job in deliveries(cli)}
    assert got.headers["webhook-signature"] == signature(b"secret key", name, at, got.content)
    for job in deliveries(cli):
        assert set(job["env"].values()) <= {"***"}


def test_failed_deliveries_name_the_status_and_410_pauses_the_hook(
    cli: Cli, server: Receiver
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for name, url in (
            ("busy", f"{server.url}/503"),
            ("moved", f"{server.url}/302"),
            ("gone", f"{server.url}/410"),
            ("closed", f"http://127.0.0.1:{port}/"),
        ):
            retries = [] if name == "gone" else ["--max-retries", "1"]
            cli("hook", "add", name, "--on", "dead", "--url", url, *retries)
        cli("enqueue", "--id", "a", "--max-retries", "1", "false")
        run_all(cli)
    reasons = {job["command"][-1]: job["last_error"] for job in deliveries(cli)}
    assert reasons == {
        "busy": "exit 1: HTTP 503 Service Unavailable",
        "moved": "exit 1: HTTP 302 Found; redirects are not followed",
        "gone": "exit 94: HTTP 410 Gone",
        "closed": "exit 1: connection refused",
    }
    assert {job["state"] for job in deliveries(cli)} == {"dead"}
    assert len(server.got) == 3, "no redirect was followed, and nothing was sent twice"
    assert [one["name"] for one in cli.json("hook", "list") if one["paused"]] == ["gone"]
    assert cli.json("hook", "show", "gone")["paused_reason"] == "the URL answered 410 Gone"


def test_a_digest_is_delivered_by_a_worker(cli: Cli, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    cli("hook", "add", "sum", "--on", "dead", "--digest", "1s", "--", "tee", str(kept))
    cli("enqueue", json.dumps([{"command": "false", "max_retries": 1}] * 20))
    with cli.start("worker", "start", "--until-empty", "-q", "--queue", "default"):
        pass
    assert cli.json("hook", "show", "sum")["waiting"] == 20
    cli("worker", "start", "-d")
    cli("wait", "--all", "--timeout", "60", code=1)
    from ..support import eventually

    eventually(kept.exists)
    eventually(lambda: deliveries(cli)[0]["state"] == "completed")
    assert json.loads(kept.read_bytes())["detail"]["count"] == 20
    cli("worker", "stop")


# -- sending ----------------------------------------------------------------------------


def test_post_reads_little_of_a_large_answer(server: Receiver) -> None:
    server.answer = b"\x1b[31m" + b"x" * 50_000_000
    found = post(f"{server.url}/200", b"{}", message="m")
    assert found.accepted
    assert found.content.startswith("\\x1b[31mx")
    assert len(found.content) < 3000


def test_post_gives_up_on_a_server_that_does_not_answer(server: Receiver) -> None:
    found = post(f"{server.url}/hang", b"{}", message="m", timeout=0.1)
    assert (found.status, found.said) == (None, "timed out")


@pytest.mark.parametrize("status", [200, 410])
def test_post_does_not_wait_for_a_response_without_an_end(server: Receiver, status: int) -> None:
    found = post(f"{server.url}/{status}/open", b"{}", message="m", timeout=50)
    assert (found.status, found.content) == (status, "thanks\n")
    assert not server.released.is_set()


def test_post_sends_a_password_as_a_header(server: Receiver) -> None:
    url = server.url.replace("http://", "http://me:p%40ss@")
    assert post(f"{url}/200", b"{}", message="m").accepted
    assert server.got[0].headers["authorization"] == "Basic bWU6cEBzcw=="


def test_post_explains_what_is_not_http(server: Receiver) -> None:
    assert post(f"{server.url}/noise", b"{}", message="m").status is None
    assert "secret" not in post("http://no.invalid/secret", b"{}", message="m").said


def test_deliver_needs_a_url(cli: Cli) -> None:
    assert "QUEUECTL_HOOK_URL" in one_line(cli("hook", "deliver", "x", code=2).err)


def test_a_hook_is_shown_with_what_happened_to_it(cli: Cli, server: Receiver) -> None:
    warned = cli(
        *("hook", "add", "gone", "--on", "dead", "--url", f"{server.url}/410"),
        *("--secret-file", "no-such-key"),
    ).err
    assert "warning: cannot read the secret file" in warned
    assert "no-such-key" in warned
    cli("hook", "remove", "gone")
    cli("hook", "add", "gone", "--on", "dead", "--url", f"{server.url}/410")
    cli("enqueue", "--max-retries", "1", "false")
    run_all(cli)
    out = cli("hook", "show", "gone").out
    assert re.search(r"by queuectl, .* ago: the URL answered 410 Gone", out)
    assert "queuectl list --queue hooks --search hook:gone:" in out


# -- tests of hooks are bounded -----------------------------------------------------------


def sample(command: str, timeout: float = 30.0) -> Any:
    made = new_hook("h", ["dead"], 0.0, cwd="/", command=["sh", "-c", command], timeout=timeout)
    return try_out(made, 0.0, "me")


def test_a_test_keeps_the_end_of_the_output() -> None:
    found = sample("head -c 10000000 /dev/zero | tr '\\0' x; echo end")
    assert found.accepted
    assert found.output.endswith("xend\n")
    assert len(found.output) <= OUTPUT_LIMIT


def test_a_test_does_not_wait_for_children_in_the_background(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    found = sample(f"echo started; sleep 3000 & echo $! > {pid}", 20.0)
    os.kill(int(pid.read_text()), signals.SIGKILL)
    assert (found.said, found.output) == ("exit 0", "started\n")


def test_a_test_ends_when_its_time_is_over(server: Receiver) -> None:
    found = sample("trap '' TERM; echo here; setsid sleep 5 & exec sleep 3000", 0.3)
    assert (found.said, found.accepted, found.exit_code) == ("timed out after 300ms", False, 137)
    made = new_hook("h", ["dead"], 0.0, cwd="/", url=f"{server.url}/drip", timeout=0.3)
    assert try_out(made, 0.0, "me").said == "timed out after 300ms"


def test_a_test_names_what_it_cannot_start(tmp_path: Path) -> None:
    made = new_hook("h", ["dead"], 0.0, cwd=str(tmp_path), command=["/no/such", "x"])
    assert try_out(made, 0.0, "me").said == "cannot start /no/such: No such file or directory"
    made = new_hook("h", ["dead"], 0.0, cwd=f"{tmp_path}/gone", command=["true"])
    said = f"cannot use the directory {tmp_path}/gone: No such file or directory"
    assert try_out(made, 0.0, "me").said == said


def test_a_secret_file_without_a_key_is_told_with_what_to_do(here: Here, tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    add = ("hook", "add", "--on", "dead", "--url", "http://h/", "--secret-file")
    said = here(*add, tmp_path / "key", "a").err
    assert "is empty; make one: openssl rand" in one_line(said)
    assert "workers on other hosts may have it" in one_line(here(*add, tmp_path / "none", "b").err)


def test_a_test_names_a_signal_that_has_no_name() -> None:
    found = sample("kill -35 $$")
    assert (found.said, found.exit_code) == ("killed by signal 35", 128 + 35)


@pytest.mark.parametrize("url", [False, True])
async def test_a_test_that_is_cancelled_ends(tmp_path: Path, server: Receiver, url: bool) -> None:
    """As when the console is closed: it must neither wait nor leave the command behind."""
    pid = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 3000"]
    given: dict[str, Any] = {"url": f"{server.url}/hang"} if url else {"command": command}
    made = new_hook("h", ["dead"], 0.0, cwd="/", timeout=3000.0, **given)
    testing = asyncio.create_task(hooks.test(made, 0.0, "me"))
    await eventually_async(lambda: asyncio.sleep(0, bool(server.got) or pid.exists()))
    testing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await testing

    async def is_over() -> bool:
        return "hook-test_0" not in {thread.name for thread in threading.enumerate()}

    await eventually_async(is_over)
    if not url:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_a_test_that_is_interrupted_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(process: Any, *_: Any) -> Any:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(hooks, "_follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample("exec sleep 3000")
    assert [process.returncode for process in started] == [-signals.SIGKILL]


@pytest.mark.parametrize("what", ["fifo", "folder", "device", "missing"])
def test_a_secret_file_that_is_no_file_is_not_waited_for(tmp_path: Path, what: str) -> None:
    path = tmp_path / "key"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(InvalidInput, match="cannot read the secret file"):
        read_key(str(path))
