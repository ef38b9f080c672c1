"""Limits of the dashboard, each at its edge: what is shown, and what is one too many."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.figures import DeadGroup, ThroughputSample
from queuectl_core.domain.model import QueueSettings, State, Worker
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.queue import Queue
from queuectl_tui.presentation.monitor import Overview
from queuectl_web import output, server
from queuectl_web.chart import throughput_chart
from queuectl_web.overview import parts
from queuectl_web.server import Options, parse_listen, serve

from ..snapshots import same_as
from ..support import PATIENCE
from .dashboard import TOKEN
from .inside import Inside
from .scene import NOW, scene

FOLDER = Path(__file__).parent / "snapshots"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with scene(tmp_path_factory.mktemp("edges")) as (made, _):
        yield made


# -- the overview -------------------------------------------------------------------------

WORKER = Worker("w-1", "s", "alpha", 4, True, (), "idle", None, None, 0, 0, NOW, NOW, None, None,
                None)  # fmt: skip


def attention(overview: Overview) -> list[str]:
    text = parts(overview, NOW)["attention"]
    return re.findall(r'<li class="(\w+)"><span>(.*?)</span> <a href="(.*?)">(.*?)<', text)


def test_the_overview_says_what_needs_attention() -> None:
    lines = []
    busy = WORKER._replace(state="busy", job="a")
    lost = WORKER._replace(state="lost")
    queues = {"a": {State.PENDING: 1}, "b": {State.PENDING: 1, State.WAITING: 2}}
    some = {State.PENDING: 1}
    causes = [DeadGroup(f"cause {n}", 1, n, NOW, n) for n in range(1, 8)]
    pauses = [QueueSettings(name, paused_at=NOW) for name in "abcdefg"]
    by = QueueSettings("b", paused_at=NOW, paused_by="me", paused_until=NOW + 60)
    for what, overview in (
        ("nothing", Overview()),
        ("one waits", Overview(counts=some)),
        ("several wait", Overview(counts={State.PENDING: 1, State.FAILED: 1}, workers=[lost])),
        ("others wait", Overview(counts={State.WAITING: 1})),
        ("lost ones", Overview(workers=[lost, lost, WORKER])),
        ("unserved", Overview(counts=some, workers=[WORKER], unserved=["a", "b"])),
        ("59 seconds", Overview(counts=some, workers=[busy], oldest_due_at=NOW - 60)),
        ("61 seconds", Overview(counts=some, workers=[busy], oldest_due_at=NOW - 61)),
        ("61 seconds, no worker", Overview(workers=[lost], oldest_due_at=NOW - 61)),
        ("5 causes", Overview(groups=causes[:5])),
        ("6 causes", Overview(groups=causes[:6])),
        ("7 causes", Overview(groups=causes)),
        ("5 pauses", Overview(queues=queues, paused=[*pauses[:1], by, *pauses[2:5]])),
        ("6 pauses", Overview(paused=pauses[:6])),
        ("7 pauses", Overview(paused=pauses)),
        ("a pause that has ended", Overview(paused=[by._replace(paused_until=NOW)])),
    ):
        lines += [what, *(f"    {' | '.join(one)}" for one in attention(overview))]
    same_as(FOLDER / "attention.txt", "\n".join(lines))


@pytest.mark.parametrize(("count", "shown", "more"), [(40, 40, ""), (41, 40, "1 more worker")])
def test_the_overview_has_40_workers(count: int, shown: int, more: str) -> None:
    workers = [WORKER._replace(id=f"w-{n:02}") for n in range(count)]
    workers[-1] = workers[-1]._replace(state="busy", job="last", job_started_at=NOW)
    made = Overview(counts={State.PROCESSING: 4}, workers=workers)
    text = parts(made, NOW)["workers"]
    names = re.findall(r'<th scope="row" class="name">(.*?)</th>', text)
    assert len(names) == shown
    assert names[0] == f"w-{count - 1}", "the busy ones first"
    assert f">{count}, 1 busy, 3 jobs prefetched<" in text
    assert (more in text) == bool(more) or not more
    assert ("more worker" in text) == bool(more)


@pytest.mark.parametrize("count", [20, 21])
def test_the_overview_has_20_queues(count: int) -> None:
    queues = {f"q-{n:02}": {State.PENDING: n} for n in range(count)}
    text = parts(Overview(queues=queues), NOW)["queues"]
    names = re.findall(r'<a href="/jobs\?queue=.*?">(.*?)</a>', text)
    assert names == [f"q-{n:02}" for n in range(count - 1, count - 21, -1)]
    assert ("1 further queue<" in text) == (count == 21)
    text = parts(Overview(queues={"b": {}, "a": dict.fromkeys(State, 0)}), NOW)["queues"]
    assert text.index(">a<") < text.index(">b<"), "a state that is not counted has no job"
    assert "further queue" not in parts(Overview(queues={"a": {}}), NOW)["queues"]


def test_the_throughput_is_drawn() -> None:
    lines = []
    for seconds, ended in (
        (0, {}), (1, {0: (1, 0)}), (59, {58: (1, 2)}), (60, {0: (3, 0), 59: (1, 1)}),
        (61, {0: (9, 0), 1: (3, 0), 60: (1, 0)}), (119, {118: (7, 0)}),
        (180, {0: (3, 0), 2: (1, 1), 90: (0, 2), 179: (5, 0)}), (200, {0: (1, 0), 199: (0, 4)}),
    ):  # fmt: skip
        ticks = [ThroughputSample(n, *ended.get(n, (0, 0))) for n in range(seconds)]
        chart = throughput_chart(ticks)
        lines.append(f"{seconds} s {ended}: {chart.width}x{chart.height}, {chart.seconds} s,"
                     f" {chart.completed} + {chart.failed}, top {chart.top}")  # fmt: skip
        lines += [f"    {bar.x}: {bar.done_y}+{bar.done_height} {bar.failed_y}+{bar.failed_height}"
                  for bar in chart.bars]  # fmt: skip
        text = parts(Overview(ticks=ticks), NOW)["throughput"]
        lines.append("    " + " ".join(re.findall(r"<p>(.*?)</p>|last .*? minutes", text)))
    same_as(FOLDER / "throughput.txt", "\n".join(lines))


# -- pages of lists -----------------------------------------------------------------------


def enqueue(app: Inside, count: int, name: str, **more: Any) -> None:
    jobs = [{"id": f"{name}-{n}", "command": "true", **more} for n in range(count)]
    body = json.dumps(jobs).encode()
    answer = app.ask("POST", "/api/v1/jobs", body, [(b"content-type", b"application/json")])
    assert answer.status == 201


def marks(text: str) -> list[str]:
    return re.findall(r'aria-label="mark ([^"]+)"', text)


def older(text: str) -> str:
    """The address of the page with older rows; empty if there is none."""
    found = re.search(r'href="([^"]*)" rel="next">', text)
    return found[1].replace("&amp;", "&") if found else ""


def test_the_pages_of_a_list(tmp_path: Path) -> None:
    with scene(tmp_path) as (app, _):
        events_have_100_on_a_page(app)
        jobs_have_50_on_a_page(app)
        a_job_has_20_events(app)
        a_search_goes_on_after_60_000_keys(app, tmp_path / "queue.db")


def events_have_100_on_a_page(app: Inside) -> None:
    before = len(app.ask("GET", "/api/v1/events?limit=1000").json)
    enqueue(app, 100 - before, "event")
    text = app.browse("/events").text
    assert text.count('data-label="kind"') == 100
    assert not older(text)
    assert not app.ask("GET", "/api/v1/events")["link"]
    enqueue(app, 1, "more")
    text = app.browse("/events").text
    assert text.count('data-label="kind"') == 100
    text = app.browse(older(text)).text
    assert text.count('data-label="kind"') == 1
    assert ">Newest<" in text
    found = app.ask("GET", "/api/v1/events")
    assert len(found.json) == 100
    assert "limit=100" in found["link"]


def jobs_have_50_on_a_page(app: Inside) -> None:
    enqueue(app, 50, "page", queue="pages")
    text = app.browse("/jobs?queue=pages").text
    assert len(marks(text)) == 50
    enqueue(app, 1, "page-more", queue="pages")
    text = app.browse("/jobs?queue=pages").text
    assert len(marks(text)) == 50
    assert "page-0" not in marks(text)
    text = app.browse(older(text)).text
    assert marks(text) == ["page-0"]
    assert ">Newest<" in text
    enqueue(app, 50, "api")
    found = app.ask("GET", "/api/v1/jobs")
    assert len(found.json) == 100
    assert "limit=100&before=" in found["link"]


def a_job_has_20_events(app: Inside) -> None:
    for count in (20, 21):
        enqueue(app, 1, f"busy-{count}")
        for n in range(count - 1):
            verb = "release" if n % 2 else "hold"
            assert app.ask("POST", f"/api/v1/jobs/busy-{count}-0/{verb}").status == 200
        text = app.browse(f"/jobs/busy-{count}-0").text
        assert text.count('data-label="kind"') == 20
        assert ("All events of this job" in text) == (count == 21)


def a_search_goes_on_after_60_000_keys(app: Inside, store: Path) -> None:
    with closing(sqlite3.connect(store)) as raw:
        raw.execute("UPDATE sqlite_sequence SET seq = 59999 WHERE name = 'jobs'")
        raw.commit()
    target = "/jobs?queue=default&search=sync-1"  # its key is 1
    enqueue(app, 1, "key-60000")
    text = app.browse(target).text
    assert marks(text) == ["sync-1"]
    assert not older(text)
    enqueue(app, 1, "key-60001")
    text = app.browse(target).text
    assert marks(text) == []
    assert "before=2" in older(text)
    assert marks(app.browse(older(text)).text) == ["sync-1"]


def test_the_page_of_the_dlq_has_200_causes(app: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def dead_groups(queue: Queue, limit: int = 9999) -> list[DeadGroup]:
        asked.append(limit)
        return [DeadGroup(f"cause {n}", 1, 1, NOW, n) for n in range(min(limit, have))]

    monkeypatch.setattr("queuectl_web.pages.dead_groups", dead_groups)
    monkeypatch.setattr("queuectl_web.api.dead_groups", dead_groups)
    have = 199
    few = app.browse("/dlq").text
    have = 1000
    many = app.browse("/dlq").text
    assert len(set(re.findall(r"cause (\d+)", few))) == 199
    assert len(set(re.findall(r"cause (\d+)", many))) == 200
    assert "There are further causes." in many
    assert "There are further causes." not in few
    assert len(app.ask("GET", "/api/v1/dlq/groups").json) == 500
    assert asked == [200, 200, 500]


# -- output -------------------------------------------------------------------------------


def put_output(app: Inside, name: str, data: bytes, *, size: int | None = None) -> None:
    """The output file of the first attempt of a job."""
    queue = app.live.connections.reader
    job = app.runner.run(queue.find(name))
    path = log_path(queue.directory, job.seq, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if size is not None:
        with path.open("ab") as file:
            file.truncate(size)


def shown(app: Inside, query: str = "") -> tuple[str, str]:
    """(what the page says about the bytes, the output that it shows)."""
    text = app.browse(f"/jobs/done/output?attempt=1{query}").text
    [said] = re.findall(r'<p class="muted">(bytes .*?)</p>', text)
    [output] = re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)
    return said, output


def links(app: Inside, query: str = "") -> list[str]:
    text = app.browse(f"/jobs/done/output?attempt=1{query}").text
    return [one.replace("&amp;", "&") for one in
            re.findall(r'<a href="/jobs/done/output\?attempt=1([^"]*)"[^>]*>(?:Start|Earlier|Later'
                       r'|End|Next|Search on)<', text)]  # fmt: skip


def test_a_page_has_32_kib_of_output(app: Inside) -> None:
    put_output(app, "done", b"x" * 32768)
    assert shown(app)[0] == "bytes 0 to 32,768 of 32,768"
    assert links(app) == []
    put_output(app, "done", b"y" * 32769)
    assert shown(app) == ("bytes 1 to 32,769 of 32,769", "y" * 32768)
    assert links(app) == ["&offset=0", "&offset=0"]
    assert shown(app, "&offset=0") == ("bytes 0 to 32,768 of 32,769", "y" * 32768)
    assert links(app, "&offset=0") == ["&offset=32768", ""]
    assert shown(app, "&offset=99999")[0] == "bytes 32,769 to 32,769 of 32,769"
    line = b"%06d\n"
    put_output(app, "done", b"".join(line % n for n in range(10_000)))  # 70,000 bytes
    said, text = shown(app)
    assert said == "bytes 37,233 to 70,000 of 70,000"
    assert text.split("\n")[0] == "005319", "it begins with a line"
    said, text = shown(app, "&offset=0")
    assert said == "bytes 0 to 32,767 of 70,000"
    assert text.endswith("004680\n"), "it ends with a line"
    assert links(app, "&offset=40000") == ["&offset=0", "&offset=7232"]
    put_output(app, "done", "漢".encode() * 20_000)
    for offset in range(3):
        said, text = shown(app, f"&offset={offset}")
        assert re.fullmatch(r"(\\x[0-9a-f]{2}){0,2}漢*", text), "no character is cut at the end"


def test_text_is_found_in_16_mib_at_a_time(app: Inside) -> None:
    limit = 16_777_216
    put_output(app, "done", b"Needle\n", size=limit)
    with log_path(app.live.connections.reader.directory, 4, 1).open("r+b") as file:
        file.seek(limit - 3)
        file.write(b"\nNEEDLE here\n")
    text = app.browse("/jobs/done/output?find=nEEdle&offset=0").text
    assert "<mark>Needle</mark>" in text
    assert links(app, "&find=needle&offset=0")[0] == "&find=needle&offset=1"
    assert shown(app, "&find=needle&offset=1")[0].startswith("bytes 16,777,214 to")
    put_output(app, "done", b"Needle\n", size=limit + (2 << 20))
    text = app.browse("/jobs/done/output?find=nowhere").text
    # 17 steps of a MiB, each of which begins 6 bytes before the end of the one before.
    assert "Not found in the first 17,825,690 bytes that were searched." in text
    assert links(app, "&find=nowhere")[0] == "&find=nowhere&offset=17825690"
    assert "Not found." in app.browse("/jobs/done/output?find=nowhere&offset=17825690").text
    assert "Not found." in app.browse("/jobs/done/output?find=needle&offset=16777216").text
    put_output(app, "done", b"a" * (1 << 20) + b"b\n" + b"c" * 99)
    assert "Not found" not in app.browse("/jobs/done/output?find=aab").text, "across two steps"
    assert "Not found." in app.browse("/jobs/done/output?find=bb").text


def test_200_finds_are_marked(app: Inside) -> None:
    put_output(app, "done", b"ab\n" * 201)
    _, text = shown(app, "&find=AB&offset=0")
    assert text.count("<mark>ab</mark>\n") == 200
    assert text.endswith("\nab\n")
    long = "a" * 200
    assert f'value="{long}"' in app.browse(f"/jobs/done/output?find={long}b").text
    assert f'value="{long}"' in app.browse(f"/jobs/done/output?find={long}").text
    put_output(app, "done", "İab\n".encode())  # its lower case is longer
    assert "<mark>" not in shown(app, "&find=ab")[1]


def test_an_ended_output_is_followed_to_its_end(app: Inside) -> None:
    put_output(app, "done", "漢".encode() * 30_000)
    assert followed(app, "done", 0) == ("漢" * 30_000, 90_000)
    assert followed(app, "done", 89_997) == ("漢", 90_000)
    assert followed(app, "done", 90_000) == ("", 90_000)
    assert followed(app, "later", 0, None) == ("", 0)


def followed(app: Inside, name: str, offset: int, number: int | None = 1) -> tuple[str, int]:
    async def follow() -> list[tuple[str, str]]:
        queue = await app.live.reader()
        job = await queue.find(name)
        if name == "later":
            job = job._replace(seq=999)  # it was removed
        return [one async for one in output.follow(app.live, queue, job, number, offset)]

    *texts, (word, end) = app.runner.run(follow())
    assert word == "end"
    assert all(event == "text" for event, _ in texts)
    said = [json.loads(data) for _, data in texts]
    if said:
        assert said[-1]["offset"] == json.loads(end)
    return "".join(one["text"] for one in said), json.loads(end)


def test_raw_output_is_every_byte(app: Inside) -> None:
    data = bytes(range(256)) * 300
    put_output(app, "done", data)

    async def read() -> bytes:
        queue = await app.live.reader()
        found = await queue.output(await queue.find("done"), 1)
        return b"".join([part async for part in output.raw(found)])

    assert app.runner.run(read()) == data
    found = app.ask("GET", "/api/v1/jobs/done/output?offset=70000").json
    assert found["next_offset"] is None
    assert app.ask("GET", "/api/v1/jobs/done/output").json["next_offset"] == 32768


# -- starting -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("3001", ("127.0.0.1", 3001)), (":3001", ("127.0.0.1", 3001)), ("0", ("127.0.0.1", 0)),
        ("65535", ("127.0.0.1", 65535)), ("localhost", ("localhost", 3000)),
        (" 10.0.0.1:80 ", ("10.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("[::1]", ("::1", 3000)),
        ("::1", ("::1", 3000)), ("10.0.0.1:00080", ("10.0.0.1", 80)),
    ],
)  # fmt: skip
def test_addresses_to_listen_on(given: str, wanted: tuple[str, int]) -> None:
    assert parse_listen(given) == wanted


@pytest.mark.parametrize("given", ["65536", "000080", "10.0.0.1:000080", "x:", ""])
def test_no_addresses(given: str) -> None:
    with pytest.raises(InvalidInput, match="write HOST:PORT"):
        parse_listen(given)


def test_a_name_of_no_host() -> None:
    with pytest.raises(InvalidInput, match=r"'a b' is no address of a host"):
        server.bind("a b", 0)


def test_what_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and without serving: the link, the warning, the page for the browser."""
    opened: list[str] = []

    async def _serve(app: Any, listening: Any, live: Any, told: Callable[[], None]) -> None:
        told()
        async with asyncio.timeout(PATIENCE):
            while browser and not opened:
                await asyncio.sleep(0.001)
        app.sessions.sign_in(said[0].rpartition("token=")[2], once=True)
        found.append((app.cookie.replace(str(listening.getsockname()[1]), "PORT"), app.read_only))
        context = app.app.state.context
        context.on_sign_in()
        lines.append(re.sub(r"^/.*?(/queue\.db|…)", "a store", context.title))
        if not app.read_only:
            queue = await context.writer()
            await queue.enqueue([{"command": "true"}])
            [event] = (await queue.event_page(1)).events
            lines.append(f"    an event by {event.via}")

    def open_it(url: str) -> bool:
        path = Path(url.removeprefix("file://"))
        opened.append(f"{oct(path.stat().st_mode)[-3:]} {path.read_text()}")
        return True

    monkeypatch.setattr(server, "_serve", _serve)
    monkeypatch.setattr(server, "OPENING_SECONDS", 0.0)
    monkeypatch.setattr(webbrowser, "open", open_it)
    monkeypatch.setattr(server, "set_up_log", lambda *, debug: None)
    monkeypatch.setenv("QUEUECTL_HOST", "alpha")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    lines = []
    store = str(tmp_path / "queue.db")
    for listen, with_token, read_only, browser in (
        ("127.0.0.1:0", False, False, True), ("[::1]:0", True, True, False),
        ("0.0.0.0:0", True, False, False), ("0.0.0.0:0", False, False, False),
    ):  # fmt: skip
        said: list[str] = []
        warned: list[str] = []
        found: list[tuple[str, bool]] = []
        given = str(token) if with_token else None
        options = Options(store, listen, read_only, given, (), browser)
        try:
            code = asyncio.run(serve(options, say=said.append, warn=warned.append))
            lines.append(f"{listen} {code} {found}")
        except InvalidInput as error:
            lines.append(f"{listen} {error}")
        lines += [f"    says: {one}" for one in said] + [f"    warns: {one}" for one in warned]
    lines += opened
    text = re.sub(r":\d{4,5}\b", ":PORT", "\n".join(lines))
    text = re.sub(r"token=[\w-]{32}", "token=TOKEN", text)
    same_as(FOLDER / "start.txt", text)
