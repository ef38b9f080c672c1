"""The store goes away and comes back, browsers are slow, signals arrive: it says so and goes on."""

from __future__ import annotations

import html
import itertools
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from queuectl_core.store.sqlite import connection

from ..pgserver import own_server
from ..support import PATIENCE, Cli, eventually, held_open
from .conftest import Starter
from .dashboard import PROBLEM, Browser, Dashboard, read_answer
from .inside import inside

WRITING = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.read()
"""
EXCLUSIVE = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("PRAGMA locking_mode = EXCLUSIVE")
conn.execute("BEGIN EXCLUSIVE")
print("ready", flush=True)
sys.stdin.read()
"""


def is_lost(browser: Browser, said: str) -> None:
    """Fails unless a page, the API and /readyz all say that the store is lost, and why."""
    page = browser.get("/jobs")
    assert page.status == 503
    assert page["retry-after"]
    assert said[1:] in html.unescape(page.text)  # as a sentence: with a capital
    problem = browser.api("GET", "/status")
    assert problem.status == 503
    assert problem["retry-after"]
    assert problem["content-type"] == PROBLEM
    detail = problem.json["detail"]
    assert said in detail
    assert problem.json["exit_code"] == 5
    changed = browser.api("POST", "/jobs", {"command": "true"})
    assert changed.status == 503
    assert said in changed.json["detail"]
    assert browser.site.ask("GET", "/readyz").status == 503
    assert browser.site.ask("GET", "/healthz").status == 200


def is_back(browser: Browser) -> bool:
    """Whether all is well again."""
    for path in ("/", "/jobs", "/readyz", "/api/v1/status"):
        if browser.get(path).status != 200:
            return False
    return True


def shown(browser: Browser) -> list[str]:
    return [job["id"] for job in browser.api("GET", "/jobs").json]


def move(source: Path, target: Path) -> None:
    """Move a store, with what belongs to it."""
    for path in list(source.parent.iterdir()):
        if path.name.startswith(source.name):
            path.rename(target.with_name(path.name.replace(source.name, target.name, 1)))


def test_a_store_that_is_moved_away_and_back(cli: Cli, serve: Starter) -> None:
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    browser = serve().sign_in()
    assert shown(browser) == ["first"]
    store = Path(cli.store)
    away = store.with_name("away.db")
    with browser.site.connect() as stream:
        head = f"GET /api/v1/stream?view=overview HTTP/1.1\r\nHost: {browser.site.host}\r\n"
        stream.sendall(f"{head}Cookie: {browser.cookie}\r\n\r\n".encode())
        wait_for(stream, b"retry")
        move(store, away)
        said = cli("status", code=5).err.partition("error: ")[2].strip()
        is_lost(browser, said.partition(";")[0])
        # The same words as on the command line.
        assert browser.api("GET", "/status").json["detail"] == said
        wait_for(stream, b'event: trouble\ndata: "')
        assert not store.exists()  # it is not made anew
        move(away, store)
        wait_for(stream, b"event: trouble\ndata: null")
    eventually(lambda: is_back(browser))
    assert shown(browser) == ["first"]
    assert browser.api("POST", "/jobs", {"command": "true", "id": "second"}).status == 201
    assert {job["id"] for job in cli.json("list")} == {"first", "second"}
    code, _, err = browser.site.stop()
    assert code == 0
    assert "Traceback" not in err
    assert "trying again" in err


def wait_for(stream: socket.socket, wanted: bytes) -> None:
    """Read a stream up to this text."""
    got = b""
    while wanted not in got:
        more = stream.recv(65536)
        assert more, got
        got += more


def test_a_store_that_is_replaced(cli: Cli, serve: Starter) -> None:
    """No request reads the old file or writes to it."""
    cli("enqueue", "true", "--id", "old", "--run-at", "+1d")
    browser = serve().sign_in()
    assert browser.api("POST", "/jobs/old/cancel").status == 200
    store = Path(cli.store)
    away = store.with_name("away.db")
    move(store, away)
    cli("enqueue", "true", "--id", "new", "--run-at", "+1d")
    assert shown(browser) == ["new"]
    assert browser.api("POST", "/jobs", {"command": "true", "id": "third"}).status == 201
    assert {job["id"] for job in cli.json("list")} == {"new", "third"}
    assert [job["id"] for job in cli.json("--store", away, "list")] == ["old"]
    assert is_back(browser)


def test_a_store_that_is_damaged_or_too_new(cli: Cli, serve: Starter) -> None:
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    store = Path(cli.store)
    away, newer = store.with_name("away.db"), store.with_name("newer.db")
    shutil.copy(store, newer)
    with sqlite3.connect(newer) as conn:
        conn.execute("PRAGMA user_version = 9999")
    conn.close()
    browser = serve().sign_in()
    assert is_back(browser)
    move(store, away)
    store.write_bytes(b"no database" * 1000)
    eventually(lambda: browser.get("/jobs").status == 503)
    is_lost(browser, cli("status", code=5).err.partition("error: ")[2].partition(";")[0].strip())
    store.unlink()
    move(newer, store)
    eventually(lambda: "upgrade queuectl" in browser.api("GET", "/jobs").json["detail"])
    is_lost(browser, cli("status", code=5).err.partition("error: ")[2].partition(";")[0].strip())
    move(store, newer)
    move(away, store)
    eventually(lambda: is_back(browser))
    assert shown(browser) == ["first"]
    code, _, err = browser.site.stop()
    assert (code, "Traceback" in err) == (0, False)


def test_a_writer_delays_changes_only(cli: Cli, serve: Starter) -> None:
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    browser = serve().sign_in()
    head = (f"POST /api/v1/jobs/first/cancel HTTP/1.1\r\nHost: {browser.site.host}\r\n"
            f"Origin: {browser.site.base}\r\nX-CSRF-Token: {browser.csrf}\r\n"
            f"Cookie: {browser.cookie}\r\nContent-Length: 0\r\n\r\n")  # fmt: skip
    with browser.site.connect() as change:
        with held_open(WRITING, cli.store):
            change.sendall(head.encode())
            for path in ("/", "/jobs", "/jobs/first", "/dlq", "/readyz", "/api/v1/status"):
                assert browser.get(path).status == 200, path
        assert read_answer(change, "POST").json["state"] == "cancelled"


def test_a_store_that_is_locked_for_long(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    with inside(cli.store, cli.environment()) as app:
        app.ask("GET", "/api/v1/jobs")
        monkeypatch.setattr(connection, "LOCK_PATIENCE", 0.2)
        with held_open(WRITING, cli.store):
            refused = app.ask("POST", "/api/v1/jobs/first/cancel")
            assert refused.status == 503
            assert "locked by another process" in refused.json["detail"]
            assert app.ask("GET", "/api/v1/jobs").status == 200
        assert app.ask("POST", "/api/v1/jobs/first/cancel").status == 200


def test_a_store_that_nobody_else_may_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A maintenance program has it for itself. Not every request waits for it in turn."""
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    with inside(cli.store, cli.environment()) as app:
        monkeypatch.setattr(connection, "LOCK_PATIENCE", 0.5)
        app.runner.run(app.live.connections.drop())
        opened: list[None] = []
        connect = app.live.connections.connect

        async def counted() -> None:
            opened.append(None)
            await connect()

        monkeypatch.setattr(app.live.connections, "connect", counted)
        with held_open(EXCLUSIVE, cli.store):
            answers = app.ask_all([("GET", "/api/v1/jobs")] * 20)
            assert {answer.status for answer in answers} == {503}
            assert {"locked" in answer.json["detail"] for answer in answers} == {True}
            assert len(opened) == 1
            assert app.ask("GET", "/healthz").status == 200
        eventually(lambda: app.ask("GET", "/api/v1/jobs").status == 200)


def test_a_server_that_is_stopped_and_started(tmp_path: Path) -> None:
    with own_server() as (server, url):
        cli = Cli(url, tmp_path)
        try:
            cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
            browser = Dashboard.start(cli).sign_in()
            assert shown(browser) == ["first"]
            assert browser.api("POST", "/jobs", {"command": "true", "id": "second"}).status == 201
            server.stop(signal.SIGINT)
            eventually(lambda: browser.get("/jobs").status == 503)
            is_lost(browser, "")
            password = url.split(":")[2].partition("@")[0]
            for answer in (browser.get("/jobs"), browser.api("GET", "/jobs")):
                assert password not in answer.text
            assert server.serve()
            eventually(lambda: is_back(browser))
            assert set(shown(browser)) == {"first", "second"}
            eventually(lambda: browser.api("POST", "/jobs/second/cancel").status == 200)
            code, _, err = browser.site.stop()
            assert code == 0
            assert "Traceback" not in err
            assert password not in err
        finally:
            cli.close()


# -- large and slow browsers ----------------------------------------------------------------


def test_idle_connections_keep_nobody_out(shared: Cli) -> None:
    site = Dashboard.start(shared)
    browser = site.sign_in()
    process = psutil.Process(site.process.pid)
    files = process.num_fds()
    heads = (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n",
             b"POST /login HTTP/1.1\r\nHost: " + site.host.encode() + b"\r\nOrigin: "
             + site.base.encode() + b"\r\nContent-Length: 100\r\n\r\ntoken=")  # fmt: skip
    idle = [socket.create_connection((site.address, site.port)) for _ in range(600)]
    for number, sock in enumerate(idle):
        try:
            sock.sendall(heads[number % 4])
        except OSError:
            pass  # it was closed for a newer one
    for _ in range(20):
        assert browser.get("/").status == 200
    assert process.num_fds() < files + 420
    for sock in idle:
        sock.close()
    eventually(lambda: process.num_fds() <= files + 5)
    assert site.stop() == (0, "", "")


def test_a_reader_that_takes_nothing_keeps_nobody_waiting(browser: Browser) -> None:
    site = browser.site
    paths = ("/api/v1/jobs/output/output?raw=true", "/api/v1/stream?view=overview", "/jobs/output")
    stuck = []
    for number in range(30):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect((site.address, site.port))
        head = f"GET {paths[number % 3]} HTTP/1.1\r\nHost: {site.host}\r\n"
        sock.sendall(f"{head}Cookie: {browser.cookie}\r\n\r\n".encode())
        stuck.append(sock)
    for _ in range(20):
        assert browser.get("/").status == 200
    for sock in stuck:
        sock.close()


def test_too_many_streams_are_refused_and_freed(shared: Cli) -> None:
    site = Dashboard.start(shared)
    browser = site.sign_in()
    head = f"GET /api/v1/stream HTTP/1.1\r\nHost: {site.host}\r\nCookie: {browser.cookie}\r\n\r\n"

    def watch() -> socket.socket:
        sock = socket.create_connection((site.address, site.port), PATIENCE)
        sock.sendall(head.encode())
        return sock

    streams = [watch() for _ in range(200)]
    for sock in streams:
        assert b" 200 " in sock.recv(4096)
    refused = browser.api("GET", "/stream")
    assert refused.status == 503
    assert "too many" in refused.json["detail"]
    assert browser.ask("HEAD", "/api/v1/stream").status == 503
    assert browser.get("/").status == 200
    for sock in streams:
        sock.close()

    def again() -> bool:
        with watch() as sock:
            return b" 200 " in sock.recv(4096)

    eventually(again)
    assert site.stop() == (0, "", "")


def test_memory_stays_the_same(browser: Browser) -> None:
    """The long form is benchmarks/dashboard.py."""
    process = psutil.Process(browser.site.process.pid)
    paths = ("/", "/jobs", "/jobs/output", "/dlq", "/api/v1/jobs", "/nowhere", "/static/app.js")

    def ask(times: int) -> int:
        for number in range(times):
            browser.get(paths[number % len(paths)])
            if not number % 10:
                browser.post("/act", [("action", "cancel-all")])
                Browser(browser.site).post("/login", [("token", "wrong")])
        return int(process.memory_info().rss)

    before = ask(150)
    assert ask(250) < before + (4 << 20)


# -- starting and ending --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_when_its_requests_have_ended(
    cli: Cli, serve: Starter, number: signal.Signals
) -> None:
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    site = serve()
    browser = site.sign_in()
    own = f"Host: {site.host}\r\nCookie: {browser.cookie}\r\n"
    with site.connect() as stream, site.connect() as change, held_open(WRITING, cli.store) as held:
        stream.sendall(f"GET /api/v1/stream HTTP/1.1\r\n{own}\r\n".encode())
        assert stream.recv(4096)
        change.sendall(
            f"POST /api/v1/jobs/first/cancel HTTP/1.1\r\n{own}Origin: {site.base}\r\n"
            f"X-CSRF-Token: {browser.csrf}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert browser.get("/").status == 200  # by now the change is waiting for the lock
        site.process.send_signal(number)
        tail = b""
        while more := stream.recv(4096):
            tail += more
        assert tail.endswith(b"0\r\n\r\n")
        held.communicate()
        assert read_answer(change, "POST").json["state"] == "cancelled"
    out, err = site.process.communicate(timeout=PATIENCE)
    assert (site.process.returncode, out, err) == (0, "", "")


def test_a_second_signal_ends_it_at_once(cli: Cli, serve: Starter) -> None:
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    site = serve()
    browser = site.sign_in()
    own = f"Host: {site.host}\r\nCookie: {browser.cookie}\r\n"
    with site.connect() as change, held_open(WRITING, cli.store):
        change.sendall(
            f"POST /api/v1/jobs/first/cancel HTTP/1.1\r\n{own}Origin: {site.base}\r\n"
            f"X-CSRF-Token: {browser.csrf}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert browser.get("/").status == 200
        site.process.send_signal(signal.SIGTERM)
        eventually(lambda: not accepts(site))
        site.process.send_signal(signal.SIGTERM)
        _out, err = site.process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    assert site.process.returncode == 0


def accepts(site: Dashboard) -> bool:
    try:
        socket.create_connection((site.address, site.port)).close()
    except OSError:
        return False
    return True


def test_it_tells_systemd(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(PATIENCE)
        cli.env["NOTIFY_SOCKET"] = str(path)
        site = Dashboard.start(cli)
        assert b"READY=1" in notify.recv(4096)
        assert site.stop()[0] == 0
        assert b"STOPPING=1" in notify.recv(4096)


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = cli("dashboard", "--listen", f"127.0.0.1:{port}", code=1)
    assert len(refused.err.splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.err


@pytest.mark.parametrize(
    "listen",
    [
        *("", " ", ":", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "x:y:z"),
        *("http://127.0.0.1:3000", "127.0.0.1:٣", "[::1", "no.such.name.invalid:0", "1:2:3"),
        *("127.0.0.1:" + "0" * 5000, "127.0.0.1:3000/", "a b:3000"),
    ],
)
def test_an_address_that_is_none(listen: str) -> None:
    from queuectl_core.domain.errors import InvalidInput
    from queuectl_web.server import bind, parse_listen

    with pytest.raises(InvalidInput, match="--listen"):
        bind(*parse_listen(listen)).close()


def test_an_address_that_is_none_is_one_line(cli: Cli) -> None:
    refused = cli("dashboard", "--listen", "127.0.0.1:x\n", code=2)
    assert len(refused.err.splitlines()) == 1
    assert cli("dashboard", "--json", code=2).err


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_one_line(cli: Cli, package: str) -> None:
    code = f"""
import sys
import threading
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Missing())
from queuectl_tui.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "dashboard", "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=cli.environment(),
        cwd=cli.cwd,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"the dashboard needs the package {package}" in done.stderr
    assert "pip install '.[web]'" in done.stderr


def test_every_request_says_that_the_store_is_lost(cli: Cli, serve: Starter) -> None:
    """No request that is under way then finds a fault of ours, and nothing makes a new store."""
    cli("enqueue", "true", "--id", "first", "--run-at", "+1d")
    browser = serve().sign_in()
    store = Path(cli.store)
    away = store.with_name("away.db")
    seen: set[int] = set()
    ended = threading.Event()

    def ask(number: int) -> None:
        paths = ("/", "/jobs", "/jobs/first", "/dlq", "/readyz", "/api/v1/jobs/first")
        for path in itertools.cycle(paths[number:] + paths[:number]):
            if ended.is_set():
                return
            seen.add(browser.get(path).status)

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in asking:
        thread.start()
    for _ in range(3):
        move(store, away)
        eventually(lambda: browser.get("/readyz").status == 503)
        assert not store.exists()
        move(away, store)
        eventually(lambda: browser.get("/readyz").status == 200)
    ended.set()
    for thread in asking:
        thread.join()
    assert seen == {200, 503}
    code, _, err = browser.site.stop()
    assert code == 0
    assert "internal error" not in err
