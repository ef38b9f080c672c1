"""What every request passes, in this process: each rule at its edge, and the headers of answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from queuectl_core.domain.errors import InvalidInput
from queuectl_tui.presentation import actions
from queuectl_web.sessions import Sessions, read_token

from ..snapshots import same_as
from .dashboard import TOKEN, Answer
from .inside import FORM, HOST, ORIGIN, OWN, Inside
from .scene import plain, scene

FOLDER = Path(__file__).parent / "snapshots"
Headers = Sequence[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with scene(tmp_path_factory.mktemp("guarded")) as (made, _):
        yield made


def send(app: Inside, method: str, target: str, headers: Headers, body: bytes = b"") -> Answer:
    return app.runner.run(app._ask(method, target, body, list(headers)))


def test_the_headers_of_every_kind_of_answer(app: Inside) -> None:
    sign_in = [HOST, ORIGIN, FORM, (b"sec-fetch-site", b"cross-site")]
    token = f"token={TOKEN}".encode()
    asked: list[tuple[str, str, Headers, bytes]] = [
        ("GET", "/settings", app._browser, b""),
        ("HEAD", "/settings", app._browser, b""),
        ("GET", "/static/app.css", [HOST], b""),
        ("GET", "/healthz", [HOST], b""),
        ("GET", "/readyz", [HOST], b""),
        ("GET", "/metrics", OWN, b""),
        ("GET", "/metrics", [HOST], b""),
        ("GET", "/login", [HOST], b""),
        ("GET", "/login?token=x", [HOST], b""),
        ("HEAD", f"/login?token={TOKEN}", [HOST], b""),
        ("GET", f"/login?token={TOKEN}", [HOST], b""),
        ("GET", f"/login?token={TOKEN}", [HOST, (b"sec-purpose", b"prefetch;x")], b""),
        ("POST", "/login", [HOST, ORIGIN, FORM], token),
        ("POST", "/login", [HOST, ORIGIN, FORM], b"token=+" + TOKEN.encode() + b"+"),
        ("POST", "/login", sign_in, token),
        ("POST", "/login", [HOST, (b"origin", b"https://localhost"), FORM,
                            (b"x-forwarded-proto", b"https")], token),
        ("GET", "/jobs", [HOST], b""),
        ("GET", "/api/v1/jobs", [HOST], b""),
        ("GET", "/api/v1/jobs?limit=1", OWN, b""),
        ("POST", "/api/v1/jobs", [*OWN, JSON], b'{"command": "true", "id": "made"}'),
        ("GET", "/api/v1/jobs/report/output?raw=1", OWN, b""),
        ("HEAD", "/api/v1/stream", OWN, b""),
        ("HEAD", "/api/v1/jobs/report/output/stream", OWN, b""),
        ("HEAD", "/api/v1/events/stream", OWN, b""),
        ("GET", "/api/v1/openapi.json", OWN, b""),
        ("PUT", "/api/v1/jobs", OWN, b""),
        ("GET", "/nonsense", app._browser, b""),
        ("POST", "/jobs", [*app._browser, FORM], f"csrf={app.csrf}".encode()),
    ]  # fmt: skip
    answers = [send(app, *one) for one in asked]
    always = set.intersection(*(set(answer.headers) for answer in answers))
    lines = ["always", *(f"    {name}: {value}" for name, value in sorted(always))]
    for (method, target, headers, _), answer in zip(asked, answers, strict=True):
        more = [f"{n.decode()}: {v.decode()}" for n, v in headers if n.startswith((b"sec", b"x-"))]
        lines += [f"{method} {target} {' '.join(more)}".rstrip(), f"    {answer.status}"]
        lines += [f"    {name}: {value}" for name, value in sorted(set(answer.headers) - always)]
    text = plain("\n".join(lines), app).replace(TOKEN, "TOKEN").replace("HEAD, GET", "GET, HEAD")
    text = re.sub(r"queuectl-2=[\w-]+", "queuectl-2=COOKIE", text)
    text = re.sub(r"(content-length|etag|last-modified): .*", r"\1", text)
    same_as(FOLDER / "headers.txt", text)


def test_what_is_refused_before_anything_is_done(app: Inside) -> None:
    csrf = f"csrf={app.csrf}".encode()
    cookie = app._browser[2]
    own = [HOST, cookie, FORM]
    table: list[tuple[str, str, str, Headers, bytes]] = [
        ("no host", "GET", "/jobs", [cookie], b""),
        ("two hosts", "GET", "/jobs", [HOST, HOST, cookie], b""),
        ("another host", "GET", "/jobs", [(b"host", b"example.org"), cookie], b""),
        ("port 65535", "GET", "/settings", [(b"host", b"LOCALHOST:65535"), cookie], b""),
        ("port 65536", "GET", "/settings", [(b"host", b"localhost:65536"), cookie], b""),
        ("port 0", "GET", "/settings", [(b"host", b"localhost:0"), cookie], b""),
        ("no port", "GET", "/settings", [(b"host", b"localhost:"), cookie], b""),
        ("an address in brackets", "GET", "/settings", [(b"host", b"[::1]:3"), cookie], b""),
        ("no path", "GET", "*", [HOST, cookie], b""),
        ("a long address", "GET", "/settings?" + "a" * (8192 - 9), [HOST, cookie], b""),
        ("a longer one", "GET", "/settings?" + "a" * (8192 - 8), [HOST, cookie], b""),
        ("no cookie", "GET", "/settings", [HOST], b""),
        ("a wrong cookie", "GET", "/settings", [HOST, (b"cookie", b"queuectl-2=x")], b""),
        ("another's cookie first", "GET", "/settings",
         [HOST, (b"cookie", b'queuectl-2=x; a; b="'), cookie], b""),
        ("a cookie in quotes", "GET", "/settings",
         [HOST, (b"cookie", cookie[1].replace(b"=", b'="') + b'"')], b""),
        ("a wrong token", "GET", "/settings", [HOST, (b"authorization", b"Bearer x")], b""),
        ("another scheme", "GET", "/settings",
         [HOST, (b"authorization", f"Basic {TOKEN}".encode())], b""),
        ("a scheme in capitals", "GET", "/settings",
         [HOST, (b"authorization", f"BEARER  {TOKEN} ".encode())], b""),
        ("no origin", "POST", "/act", own, csrf),
        ("two origins", "POST", "/act", [*own, ORIGIN, ORIGIN], csrf),
        ("another origin", "POST", "/act", [*own, (b"origin", b"http://example.org")], csrf),
        ("an origin in capitals", "POST", "/act", [*own, (b"origin", b"HTTPS://LOCALHOST")], csrf),
        ("a proxy with TLS", "POST", "/act",
         [*own, ORIGIN, (b"x-forwarded-proto", b"https")], csrf),
        ("a proxy without", "POST", "/act", [*own, ORIGIN, (b"x-forwarded-proto", b"http")], csrf),
        ("a proxy of another kind", "POST", "/act",
         [*own, ORIGIN, (b"x-forwarded-proto", b"ws")], csrf),
        ("a program from another site", "POST", "/api/v1/hold",
         [*OWN, (b"origin", b"http://example.org")], b""),
        ("no csrf", "POST", "/act", [*own, ORIGIN], b""),
        ("a wrong csrf", "POST", "/act", [*own, ORIGIN], b"csrf=x"),
        ("csrf in a header", "POST", "/api/v1/hold",
         [HOST, cookie, ORIGIN, (b"x-csrf-token", app.csrf.encode())], b""),
        ("csrf in JSON", "POST", "/act", [HOST, cookie, ORIGIN, JSON], csrf),
        ("a form with a charset", "POST", "/act", [HOST, cookie, ORIGIN,
         (b"content-type", b"Application/x-www-form-urlencoded; charset=UTF-8")], csrf),
        ("a form that is no text", "POST", "/act", [*own, ORIGIN], b"csrf=\xff"),
        ("20,000 fields", "POST", "/act", [*own, ORIGIN], csrf + b"&a=" * 19_999),
        ("20,001 fields", "POST", "/act", [*own, ORIGIN], csrf + b"&a=" * 20_000),
        ("8 KiB to sign in", "POST", "/login", [HOST, ORIGIN, FORM], b"a" * 8192),
        ("8 KiB and a byte", "POST", "/login", [HOST, ORIGIN, FORM], b"a" * 8193),
        ("4 MiB", "POST", "/act", [*own, ORIGIN], (csrf + b"&a=").ljust(4_194_304, b"a")),
        ("4 MiB and a byte", "POST", "/act", [*own, ORIGIN],
         (csrf + b"&a=").ljust(4_194_305, b"a")),
        ("a length of 4 MiB", "POST", "/act",
         [*own, ORIGIN, (b"content-length", b"4194304")], csrf),
        ("a longer one", "POST", "/act", [*own, ORIGIN, (b"content-length", b"4194305")], csrf),
        ("a length of 20 digits", "POST", "/act",
         [*own, ORIGIN, (b"content-length", b"0" * 20)], csrf),
        ("a length that is none", "POST", "/act",
         [*own, ORIGIN, (b"content-length", "²".encode("latin-1"))], csrf),
    ]  # fmt: skip
    lines = []
    for what, method, target, headers, body in table:
        answer = send(app, method, target, headers, body)
        found = re.findall(r"<p[^>]*>([^<]+)</p>", answer.text)
        said = " ".join(found[:2]) if answer.status >= 400 and found else ""
        if answer["content-type"].endswith("json"):
            said = answer.json["detail"]
        lines.append(f"{what:<28}{answer.status} {said}")
    same_as(FOLDER / "guarded.txt", "\n".join(lines))


def test_headers_have_32_kib_at_most(app: Inside) -> None:
    size = sum(len(name) + len(value) for name, value in app._browser)
    for more, status in ((0, 200), (1, 431)):
        padding = (b"x", b"a" * (32768 - size - 1 + more))
        assert send(app, "GET", "/settings", [*app._browser, padding]).status == status


def test_a_token_has_16_characters_or_more(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    for token, fine in (("a" * 15, False), ("a" * 16, True), ("a" * 4096, True)):
        path.write_text(f" {token}\n")
        if fine:
            assert read_token(path) == token
        else:
            with pytest.raises(InvalidInput, match="one ASCII word of 16 characters or more"):
                read_token(path)
    path.write_text("a" * 4097)
    with pytest.raises(InvalidInput, match="no usable token"):
        read_token(path)


def test_sessions_end_and_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    start = now = time.monotonic() + 60  # a session begins by the true time
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sessions = Sessions(TOKEN)
    first, other = (str(sessions.sign_in(TOKEN)) for _ in range(2))
    found = sessions.find(first)
    assert found is not None
    assert sessions.find(other) is not None
    now += 30 * 86400
    assert sessions.find(first) is found, "30 days later"
    assert sessions.find("nonsense") is None
    now += 1
    forgotten = sessions._sessions[next(iter(sessions._sessions))]
    assert sessions.find(other) is None
    assert forgotten.ended.is_set()
    now += 30 * 86400
    assert sessions.find(first) is None
    now = start
    cookies = [str(sessions.sign_in(TOKEN)) for _ in range(200)]
    kept = [sessions.find(one) for one in cookies]
    assert all(kept)
    assert sessions.find(cookies[0]) is kept[0]  # now the latest
    sessions.sign_in(TOKEN)
    assert kept[1] is not None
    assert kept[1].ended.is_set()
    assert [sessions.find(one) is None for one in cookies] == [False, True, *[False] * 198]
    last = kept[-1]
    assert last is not None
    sessions.sign_out(last)
    assert sessions.find(cookies[-1]) is None
    assert last.ended.is_set()
    assert kept[0] is not None
    assert not kept[0].ended.is_set()


def test_questions_and_messages_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sessions = Sessions(TOKEN)
    session = sessions.find(str(sessions.sign_in(TOKEN)))
    assert session is not None
    action = actions.config_unset("max-retries")
    keys = [session.ask(action, f"/{n}") for n in range(21)]
    assert session.answer(keys[0]) is None, "only 20 are kept"
    answered = session.answer(keys[1])
    assert answered is not None
    assert answered.back == "/1"
    assert session.answer(keys[1]) is None, "once"
    now += 899
    assert session.answer(keys[2])
    now += 1
    assert session.answer(keys[3]) is None, "900 seconds later"
    for n in range(21):
        session.tell(str(n))
    assert [one.text for one in session.take_messages()] == [str(n) for n in range(1, 21)]
    assert session.take_messages() == []


def test_links_are_for_once_and_a_token_is_not_in_an_address() -> None:
    links = Sessions()
    assert not links.has_token
    assert links.link_used
    first, second = links.new_link_token(), links.new_link_token()
    assert links.sign_in(first) is None, "it was replaced"
    assert not links.link_used
    assert links.sign_in(second, once=True)
    assert links.link_used
    assert links.sign_in(second) is None
    assert links.sign_in("") is None
    fixed = Sessions(TOKEN)
    assert fixed.has_token
    assert fixed.sign_in(TOKEN, once=True) is None
    assert fixed.sign_in(TOKEN)
    assert fixed.sign_in(TOKEN)
    assert not links.is_bearer(second)
    assert not fixed.is_bearer(TOKEN + "x")


def test_a_fault_of_a_check_is_an_answer(app: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("queuectl_web.guard.refuse", refuse)
    answer = send(app, "GET", "/jobs", [])
    assert (answer.status, answer.text) == (500, "internal error\n")
    assert answer["x-frame-options"] == "DENY"
