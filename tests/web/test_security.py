"""Each threat of SECURITY.md is tried, and refused."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest

from queuectl_core.domain.errors import InvalidInput
from queuectl_web.sessions import read_token

from ..support import Cli
from .dashboard import TOKEN, Answer, Browser, Dashboard, Headers, csrf_in, fields_in, read_answer
from .hostile import OUTPUT, TEXTS

FORM = ("Content-Type", "application/x-www-form-urlencoded")
PAGES = (
    *("/", "/jobs", "/jobs?state=dead", "/dlq", "/workers", "/stats", "/settings", "/doctor"),
    *("/enqueue", "/jobs/dead-0", "/jobs/done-1", "/jobs/later-3", "/jobs/output"),
    *("/jobs/output/output", "/jobs/javascript:alert.1", "/jobs/nobody", "/login"),
    *("/schedules", "/schedules/nightly", "/schedules/nobody"),
    *("/queues", "/queues/default", "/queues/javascript:alert.2", "/queues/nobody"),
    *("/jobs/waits-0", "/jobs/waits-1", "/jobs/held", "/jobs?state=waiting"),
    *("/jobs?key=%3Cscript%3E", "/jobs/held/edit", "/jobs/waits-1/edit"),
    *("/jobs?search=%3Cscript%3E", "/jobs/output/output?find=%3Cscript%3E", "/nowhere"),
)


class Parsed(HTMLParser):
    """What is on a page."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._within = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.inline += data.strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def is_harmless(answer: Answer) -> None:
    """Fails if an answer lets other pages or hostile text do anything."""
    policy = answer["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["x-frame-options"] == "DENY"
    assert answer["referrer-policy"] == "same-origin"
    assert [n for n, _ in answer.headers if n.lower().startswith("access-control")] == []
    if not answer["content-type"].startswith("text/html") or not answer.body:
        return
    page = Parsed(answer)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "header",
        "p",
        "span",
    }
    allowed |= {"nav", "ul", "li", "main", "div", "br", "code", "footer", "form", "input", "button"}
    allowed |= {"h1", "h2", "strong", "section", "dl", "dt", "dd", "label", "textarea", "details"}
    allowed |= {"summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "fieldset"}
    allowed |= {"legend", "pre", "mark", "svg", "rect"}
    assert {tag for tag, _ in page.tags} <= allowed
    assert page.inline == ""
    assert page.all("script") == [{"src": "/static/app.js", "defer": None}]
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (
            tag,
            attrs,
        )
        for name in ("href", "src", "action", "formaction"):
            target = attrs.get(name)
            assert target is None or re.match(r"[/?#](?![/\\])|$", target), (tag, attrs)
    # What can be edited and sent must stay as it is.
    shown = re.sub(r'<textarea.*?</textarea>| value="[^"]*"', "", answer.text, flags=re.DOTALL)
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", shown)


# -- who is asked, and by whom --------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:{port}", "localhost."),
        *("user@127.0.0.1:{port}", "127.0.0.1@evil.example", "127.0.0.1:{port}@evil.example"),
        *("127.0.0.1:{port}/", "127.0.0.1:{port}?a", "127.0.0.1#a", "127.0.0.1:port", "10.0.0.1"),
        *("127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:123456", "127.0.0.1:1:2", "127.0.0.1 evil"),
        *("[::1", "::1", "[::2]", "[::1]evil", "[127.0.0.1]x", "0.0.0.0", "2130706433", "127.1"),
        *("127.\t0.0.1", "\xb2", "127.0.0.1,evil.example", "*", ""),
    ],
)
def test_a_host_header_that_names_somebody_else_is_refused(site: Dashboard, host: str) -> None:
    named = host.format(port=site.port)
    for path in ("/", "/login", "/healthz", "/static/app.js"):
        answer = site.ask("GET", path, headers=[("Host", named)])
        assert answer.status == 403, named
        is_harmless(answer)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "LOCALHOST:1", "localhost:{port}", "[::1]:{port}", "127.0.0.1:"]
)
def test_our_own_names_are_known_with_any_port(site: Dashboard, host: str) -> None:
    """The port may be that of a tunnel."""
    named = host.format(port=site.port)
    assert site.ask("GET", "/healthz", headers=[("Host", named)]).status == 200


@pytest.mark.parametrize(
    "head",
    [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET javascript:alert(1) HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /healthz\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded: b\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + "a" * 70_000 + "\r\n\r\n",
        "GET /" + "a" * 70_000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=lambda head: ascii(head[:40]),
)
def test_what_is_no_good_request_is_refused_harmlessly(site: Dashboard, head: str) -> None:
    answer = site.raw(head.encode("latin-1"))
    assert 400 <= answer.status < 500 or answer.status == 501
    is_harmless(answer)


def test_rubbish_after_an_answer_ends_the_connection(site: Dashboard) -> None:
    head = f"POST /act HTTP/1.1\r\nHost: {site.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with site.connect() as sock:
        sock.sendall(head.encode())
        assert read_answer(sock).status == 401
        sock.sendall(b"rubbish\r\n")
        assert sock.recv(4096) == b""
    assert site.ask("GET", "/healthz").status == 200


def test_names_of_a_proxy_are_known_only_if_given(public: Dashboard) -> None:
    def known(host: str) -> bool:
        return public.ask("GET", "/healthz", headers=[("Host", host)]).status == 200

    assert known("queue.example.org")
    assert known("QUEUE.example.org:443")
    assert known("other.example.org:8443")
    # It listens on all addresses. An address cannot be rebound.
    assert known("192.0.2.7:3000")
    assert known("[2001:db8::1]:3000")
    assert not known("evil.example")
    assert not known("queue.example.org.evil.example")
    assert not known("xqueue.example.org")


# -- signing in -----------------------------------------------------------------------------


def test_a_link_signs_in_once(site: Dashboard) -> None:
    token = site.link.partition("token=")[2]
    # A browser that loads it ahead does not use it up.
    ahead = site.ask("GET", site.link, headers=[("Sec-Purpose", "prefetch")])
    for answer in (ahead, site.ask("HEAD", site.link)):
        assert answer.status == 200
        assert not answer["set-cookie"]
    is_harmless(ahead)
    assert fields_in(ahead.text) == {"token": token}
    first = site.ask("GET", site.link)
    assert (first.status, first["location"]) == (303, "/")
    cookie = first["set-cookie"].partition(";")[0]
    site.new_link()
    assert site.ask("GET", "/", headers=[("Cookie", cookie)]).status == 200
    for again in (
        Browser(site).post("/login", [("token", token)]),
        site.ask("GET", f"/login?token={token}"),
    ):
        assert again.status == 401
        assert not again["set-cookie"]


def test_the_cookie_is_for_this_server_only(site: Dashboard) -> None:
    once = site.link.partition("token=")[2]
    cookie = Browser(site).post("/login", [("token", once)])["set-cookie"]
    site.new_link()
    name, *flags = [part.strip().lower() for part in cookie.split(";")]
    assert name.startswith(f"queuectl-{site.port}=")
    assert {"httponly", "samesite=strict", "path=/"} <= set(flags)
    assert not [flag for flag in flags if flag.startswith("domain")]
    assert "secure" not in flags  # it is http


@pytest.mark.parametrize("token", ["", "wrong", " ", "\0", "é" * 20, "a" * 5000, "None"])
def test_a_wrong_token_does_not_sign_in(site: Dashboard, token: str) -> None:
    answer = Browser(site).post("/login", [("token", token)])
    assert answer.status in (401, 413)
    assert not answer["set-cookie"]
    is_harmless(answer)


def test_the_link_is_good_nowhere_else(site: Dashboard) -> None:
    token = site.link.partition("token=")[2]
    for target, headers in [
        (f"/?token={token}", []),
        ("/", [("Authorization", f"Bearer {token}")]),
        ("/api/v1/jobs", [("Authorization", f"Bearer {token}")]),
        ("/", [("Cookie", f"queuectl-{site.port}={token}")]),
        ("/", [("X-CSRF-Token", token)]),
    ]:
        assert site.ask("GET", target, headers=headers).status == 401
    other = Browser(site).ask("POST", f"/login?token={token}", b"", [("Origin", site.base), FORM])
    assert other.status == 401


def test_without_signing_in_there_is_nothing(site: Dashboard) -> None:
    for path in PAGES:
        if path != "/login":
            answer = site.ask("GET", path)
            assert answer.status == 401, path
            is_harmless(answer)
    for path in ("/static/../jobs", "/static/%2e%2e/jobs", "/static//jobs", "/login/", "/LOGIN"):
        assert site.ask("GET", path).status in (401, 404), path
    problem = site.ask("GET", "/api/v1/jobs")
    assert problem.status == 401
    assert problem["www-authenticate"] == "Bearer"
    assert problem.json["detail"].startswith("not signed in")


def test_cookies_of_other_servers_do_not_disturb(browser: Browser) -> None:
    site = browser.site
    name, _, value = browser.cookie.partition("=")
    for cookie in (
        f'odd={{"a": 1}}; {browser.cookie}',
        f'"; a b; ==; {browser.cookie}',
        f"{name}=of-a-longer-path; {browser.cookie}",
        f"{browser.cookie}; {name}=of-another-server",
        f'{name}="{value}"',
    ):
        assert site.ask("GET", "/", headers=[("Cookie", cookie)]).status == 200, cookie
    for cookie in (f"queuectl-{site.port + 1}={value}", f"queuectl={value}", f"{name}x={value}"):
        assert site.ask("GET", "/", headers=[("Cookie", cookie)]).status == 401, cookie


def test_signing_out_ends_the_session_and_its_streams(site: Dashboard) -> None:
    new = site.sign_in()
    head = f"GET /api/v1/stream HTTP/1.1\r\nHost: {site.host}\r\nCookie: {new.cookie}\r\n\r\n"
    with site.connect() as sock:
        sock.sendall(head.encode())
        received = sock.recv(4096)
        assert b"text/event-stream" in received
        answer = new.post("/logout")
        assert answer.status == 303
        assert "max-age=0" in answer["set-cookie"].lower()
        while not received.endswith(b"\r\n0\r\n\r\n"):  # the last chunk
            more = sock.recv(4096)  # TimeoutError if it never comes
            assert more, "it was closed without the last chunk"
            received += more
            assert received.count(b"3\r\n:\n\n") == 0, "it was kept alive instead"
    assert new.get("/").status == 401


def test_the_token_of_the_file_is_for_programs_and_browsers(public: Dashboard) -> None:
    bearer = [("Authorization", f"Bearer {TOKEN}")]
    assert public.said == [f"the dashboard is at: http://{public.said[0].split('//')[1]}"]
    assert "token" not in public.said[0]
    assert public.ask("GET", "/api/v1/status", headers=bearer).status == 200
    assert public.ask("GET", "/", headers=[("Authorization", f"bearer  {TOKEN} ")]).status == 200
    for wrong in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), ""):
        header = ("Authorization", f"Bearer {wrong}")
        assert public.ask("GET", "/api/v1/status", headers=[header]).status == 401
    assert public.ask("GET", "/", headers=[("Authorization", f"Basic {TOKEN}")]).status == 401
    first, second = public.sign_in(TOKEN), public.sign_in(TOKEN)
    assert first.cookie != second.cookie
    assert second.get("/").status == 200
    # A program needs no Origin and no token of a form. A foreign page cannot have the token.
    job = public.ask(
        "POST", "/api/v1/jobs", b'{"command": "# nothing", "run_at": "+1d"}',
        [*bearer, ("Content-Type", "application/json")],
    )  # fmt: skip
    assert job.status == 201
    foreign = public.ask(
        "POST", "/api/v1/jobs", b"{}", [*bearer, ("Origin", "http://evil.example")]
    )
    assert foreign.status == 403
    # The forms of the pages are for browsers.
    act = public.ask("POST", "/act", b"action=stop-all-workers", [*bearer, FORM])
    assert act.status == 403


def test_a_cookie_behind_a_proxy_with_tls_is_secure(public: Dashboard) -> None:
    name = "queue.example.org"
    proxied = [("Host", name), ("X-Forwarded-Proto", "https")]
    body = urlencode([("token", TOKEN)]).encode()
    answer = public.ask("POST", "/login", body, [*proxied, FORM, ("Origin", f"https://{name}")])
    assert answer.status == 303
    assert "secure" in answer["set-cookie"].lower()
    # A page of the same name that came without TLS may be anybody's.
    answer = public.ask("POST", "/login", body, [*proxied, FORM, ("Origin", f"http://{name}")])
    assert answer.status == 403


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (TOKEN, 0o644, "can be read by others"),
        (TOKEN, 0o620, "can be read by others"),
        ("short", 0o600, "holds no usable token"),
        ("", 0o600, "holds no usable token"),
        ("two words " * 5, 0o600, "holds no usable token"),
        ("é" * 20, 0o600, "holds no usable token"),
        ("a" * 5000, 0o600, "holds no usable token"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_bad_token_file_is_refused(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(InvalidInput, match=said) as caught:
        read_token(path)
    if len(content or "") > 5:
        assert content not in str(caught.value)


def test_a_bad_token_file_is_one_line(cli: Cli, tmp_path: Path) -> None:
    refused = cli("dashboard", "--listen", "127.0.0.1:0", "--token-file", tmp_path / "none", code=2)
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_other_machines_are_let_in_only_with_a_token(cli: Cli, listen: str) -> None:
    refused = cli("dashboard", "--listen", listen, code=2)
    assert "--token-file" in refused.err
    assert not refused.out


# -- changes --------------------------------------------------------------------------------


def count(site: Dashboard) -> int:
    return sum(1 for _ in json.loads(site.cli("list", "--json").out))


@pytest.mark.parametrize(
    "origin",
    [
        None,
        *("null", "", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "file://"),
        *("http://{host}.evil.example", "http://evil@{host}", "http://{host}/", "{host}"),
        *("ftp://{host}", "http://localhost:{port}", "http://{host} http://{host}"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/act", "/answer", "/enqueue", "/jobs/held/edit", "/logout", "/api/v1/jobs"]
)
def test_a_change_from_another_page_is_refused(
    browser: Browser, path: str, origin: str | None
) -> None:
    site = browser.site
    given = [] if origin is None else [("Origin", origin.format(host=site.host, port=site.port))]
    answer = browser.post(path, [("command", "true")], [*given, ("X-CSRF-Token", browser.csrf)])
    assert answer.status == 403
    is_harmless(answer)


def test_two_origins_are_none(browser: Browser) -> None:
    ours = ("Origin", browser.site.base)
    assert browser.post("/logout", headers=[ours, ("Origin", "http://evil.example")]).status == 403
    assert browser.get("/").status == 200


def test_a_form_without_the_token_of_its_session_is_refused(
    site: Dashboard, browser: Browser
) -> None:
    other = site.sign_in()
    before = count(site)
    for csrf in ("", "x", other.csrf, browser.csrf[:-1], browser.csrf + "a"):
        forged = Browser(site, browser.cookie, csrf)
        for path in ("/act", "/answer", "/enqueue", "/logout"):
            assert forged.post(path, [("command", "true")]).status == 403
        assert forged.api("POST", "/jobs", {"command": "true"}).status == 403
        assert forged.api("DELETE", "/jobs/done-1").status == 403
    # The token in the address, or with another content type, is none.
    body = urlencode([("csrf", browser.csrf), ("command", "true")]).encode()
    for kind in ("text/plain", "multipart/form-data; boundary=a", "application/json", ""):
        answer = browser.ask(
            "POST", f"/enqueue?csrf={browser.csrf}", body,
            [("Content-Type", kind), ("Origin", site.base)],
        )  # fmt: skip
        assert answer.status == 403, kind
    assert count(site) == before


def test_a_simple_request_changes_nothing_through_the_api(browser: Browser) -> None:
    """Those that another page can send without being asked first, if all else failed."""
    before = count(browser.site)
    headers: Headers = [("Origin", browser.site.base), ("X-CSRF-Token", browser.csrf)]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = browser.ask(
            "POST", "/api/v1/jobs", b'{"command": "true"}', [*headers, ("Content-Type", kind)]
        )
        assert answer.status == 415
    assert count(browser.site) == before


def test_reading_changes_nothing(browser: Browser) -> None:
    """GET and HEAD, with all that could make them a change."""
    before = browser.site.cli("list", "--json").out
    query = urlencode([("csrf", browser.csrf), ("action", "remove"), ("job", "1"), ("key", "a"),
                       ("command", "true"), ("_method", "DELETE")])  # fmt: skip
    override = [("X-HTTP-Method-Override", "DELETE"), ("X-HTTP-Method", "DELETE"),
                ("X-Method-Override", "POST"), ("Origin", browser.site.base)]  # fmt: skip
    paths = ["/act", "/answer", "/enqueue", "/logout", "/api/v1/retry", "/api/v1/dlq/purge",
             "/api/v1/workers/start", "/api/v1/jobs", "/api/v1/jobs/done-1/retry",
             "/api/v1/jobs/done-1", "/jobs/done-1", "/jobs", "/jobs/held/edit",
             "/api/v1/jobs/held/release", "/api/v1/queues/default/resume"]  # fmt: skip
    for path in paths:
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = browser.ask(method, f"{path}?{query}", headers=override)
            assert answer.status in (200, 400, 405)
            is_harmless(answer)
    assert browser.site.cli("list", "--json").out == before
    assert browser.get("/").status == 200
    assert browser.ask("TRACE", "/", headers=[("Origin", browser.site.base)]).status == 403


def test_no_other_site_may_read(browser: Browser) -> None:
    foreign = [("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST"),
               ("Access-Control-Request-Headers", "x-csrf-token")]  # fmt: skip
    for path in ("/", "/api/v1/jobs", "/static/app.js", "/healthz", "/login", "/nowhere"):
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = browser.ask(method, path, headers=foreign)
            is_harmless(answer)
            assert answer["cross-origin-resource-policy"] == "same-origin"


def test_read_only_refuses_every_change(read_only: Browser) -> None:
    before = read_only.site.cli("list", "--json").out
    for path in ("/act", "/answer", "/enqueue", "/jobs/held/edit"):
        for action in ("retry", "remove-all", "start-workers", "set-setting", "pause-queue"):
            answer = read_only.post(path, [("action", action), ("command", "true")])
            assert answer.status == 403
            assert "read-only" in answer.text
    for method, path in [
        *[
            ("POST", p)
            for p in ("/jobs", "/retry", "/cancel", "/remove", "/dlq/retry", "/dlq/purge")
        ],
        *[("POST", p) for p in ("/jobs/dead-0/retry", "/jobs/later-0/cancel", "/workers/start")],
        *[("POST", f"/jobs/held/{verb}") for verb in ("hold", "release", "edit")],
        *[("POST", f"/schedules/nightly/{verb}") for verb in ("pause", "resume", "run")],
        *[("POST", f"/queues/default/{verb}") for verb in ("pause", "resume", "set", "remove")],
        *[("POST", "/hold"), ("POST", "/release"), ("DELETE", "/jobs/later-0?cascade=true")],
        *[("POST", "/workers/stop"), ("DELETE", "/jobs/done-0"), ("PUT", "/config/max-retries")],
        ("DELETE", "/config/max-retries"),
    ]:
        answer = read_only.api(method, path, {"all": True})
        assert answer.status == 403
        assert "read-only" in answer.json["detail"]
    assert read_only.site.cli("list", "--json").out == before


def test_read_only_shows_no_buttons(read_only: Browser) -> None:
    for path in PAGES:
        if path == "/login":
            continue
        answer = read_only.get(path)
        is_harmless(answer)
        page = Parsed(answer)
        changing = [form for form in page.all("form") if form.get("method") == "post"]
        assert [form["action"] for form in changing] == ["/logout"], path
        assert not [one for one in page.all("input") if one.get("type") == "checkbox"], path
        assert not [one for one in page.all("button") if one.get("name") == "action"], path
    assert read_only.get("/enqueue").status == 403
    assert read_only.get("/jobs/held/edit").status == 403


# -- text -----------------------------------------------------------------------------------


def links_in(answer: Answer) -> set[str]:
    """The pages that a page leads to."""
    found = {html.unescape(link) for link in re.findall(r' href="([^"]*)"', answer.text)}
    return {link.partition("#")[0] for link in found if link[:1] == "/"}


def test_hostile_text_is_text_on_every_page(browser: Browser) -> None:
    """Every page that can be reached."""
    seen: set[str] = set()
    left = set(PAGES)
    while left:
        path = left.pop()
        seen.add(path)
        answer = browser.get(path)
        is_harmless(answer)
        assert answer.status in (200, 303, 404), path
        if answer["content-type"].startswith("text/html"):
            left |= links_in(answer) - seen
        assert len(seen) < 600
    assert len([path for path in seen if path.startswith("/jobs?state=dead&reason=")]) > 3


def test_hostile_text_is_shown(browser: Browser) -> None:
    page = browser.get("/jobs/later-0").text
    assert html.escape(TEXTS[0], quote=False) in page
    assert TEXTS[0] not in page
    assert "7 * 7" in browser.get("/jobs/later-2").text
    assert "\\u202e" in browser.get("/jobs/later-3").text


def test_hostile_text_in_questions_forms_and_messages(browser: Browser) -> None:
    for text in TEXTS:
        refused = browser.post("/enqueue", [("command", text), ("priority", text)])
        assert refused.status == 400
        is_harmless(refused)
        for form in (
            [("action", text), ("back", text)],
            [("action", "set-setting"), ("key", text), ("value", text), ("back", text)],
            [("action", "start-workers"), ("count", text), ("queue", text), ("back", text)],
            [("action", "retry-all"), ("search", text), ("queue", text), ("back", text)],
            [("action", "stop-workers"), ("worker", text)],
            [("action", "retry"), ("job", text)],
            [("action", "hold-all"), ("key", text), ("queue", "none"), ("back", text)],
            [("action", "pause-queue"), ("queue", text), ("for", text), ("reason", text)],
            [("action", "pause-queue"), ("queue", "default"), ("for", text), ("back", text)],
            [("action", "set-queue"), ("queue", "mail"), ("limit", text), ("rate", text)],
            [("action", "set-queue"), ("queue", "mail"), ("limit", "1"), ("was", text)],
            [("action", "remove-queue"), ("queue", text)],
        ):
            answer = browser.post("/act", form)
            is_harmless(answer)
            assert answer.status in (303, 400)
            is_harmless(browser.get("/settings"))  # it shows the message
        asked = browser.post(
            "/act", [("action", "pause-queue"), ("queue", "default"), ("reason", text)]
        )
        assert asked.status == 200
        is_harmless(asked)
        form = fields_in(browser.get("/jobs/held/edit").text)
        for fields in ({"priority": text}, {"key": text * 80, "command": text}, {"was": text}):
            refused = browser.post("/jobs/held/edit", [*(form | fields).items()])
            assert refused.status in (400, 409)
            is_harmless(refused)
    asked = browser.post("/act", [("action", "cancel-all"), ("search", TEXTS[0][:20])])
    assert asked.status == 200
    is_harmless(asked)


@pytest.mark.parametrize(
    "back",
    [
        *("//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "evil"),
        *("/\t/evil.example", "/\n/evil.example", " //evil.example", "javascript:alert(1)", ""),
        *("/a\r\nSet-Cookie: a=b", "/\x00", "/é", "///evil.example", "http:evil.example"),
    ],
)
def test_a_form_leads_nowhere_else(browser: Browser, back: str) -> None:
    for path, form in (
        ("/answer", [("key", "none"), ("back", back)]),
        ("/act", [("action", "retry"), ("back", back)]),
    ):
        answer = browser.post(path, form)
        assert answer.status == 303
        assert answer["location"] == "/"
        assert not answer["set-cookie"]


def test_output_is_text_or_a_file(browser: Browser) -> None:
    shown = browser.api("GET", "/jobs/output/output").json
    assert "\\x00nul \\xff\\xfe" in shown["output"]
    assert "<script>" in shown["output"]  # it is JSON
    raw = browser.get("/api/v1/jobs/output/output?raw=true")
    assert raw.body == OUTPUT
    assert raw["content-type"] == "application/octet-stream"
    assert raw["content-disposition"] == 'attachment; filename="output.1.log"'
    is_harmless(raw)


def test_output_in_a_stream_makes_no_events(browser: Browser) -> None:
    for job in ("output", *(f"dead-{n}" for n in range(len(TEXTS)))):
        stream = browser.get(f"/api/v1/jobs/{job}/output/stream").body
        lines = [line for line in re.split(rb"\r\n|\r|\n", stream) if line]
        assert lines[0] == b"retry: 2000"
        kinds = [line for line in lines if line.startswith(b"event:")]
        assert kinds[-1] == b"event: end"
        assert set(kinds) <= {b"event: text", b"event: end"}
        for line in lines[1:]:
            assert line in kinds or json.loads(line.removeprefix(b"data: ")) is not None


def test_names_in_headers_are_quoted(browser: Browser) -> None:
    made = browser.api("POST", "/jobs", {"command": "#", "id": "a:@b", "run_at": "+1d"})
    assert made["location"] == "/api/v1/jobs/a%3A%40b"
    link = browser.api("GET", "/jobs?limit=1&search=dead&reason=%3C%22%0d%0aX:y%3E")["link"]
    assert link == "" or "\r" not in link
    link = browser.api("GET", "/jobs?limit=1&queue=default")["link"]
    assert re.fullmatch(r'</api/v1/jobs\?queue=default&limit=1&before=\d+>; rel="next"', link)


# -- questions ------------------------------------------------------------------------------


def enqueue(browser: Browser, **fields: object) -> str:
    job = browser.api("POST", "/jobs", {"command": "# later", "run_at": "+1d", **fields})
    return str(job.json["id"])


def mark_of(browser: Browser, job: str) -> str:
    return fields_in(browser.get(f"/jobs/{job}").text)["job"]


def ask(browser: Browser, action: str, job: str) -> dict[str, str]:
    """The fields of the question."""
    form = [("action", action), ("job", mark_of(browser, job)), ("back", "/dlq")]
    asked = browser.post("/act", form)
    assert asked.status == 200, asked
    return fields_in(asked.text)


def test_an_answer_that_is_given_twice_counts_once(browser: Browser) -> None:
    job = enqueue(browser)
    question = ask(browser, "cancel", job)
    first = browser.post("/answer", list(question.items()))
    assert "is cancelled" in browser.follow(first).text
    second = browser.post("/answer", list(question.items()))
    assert "nothing was done" in browser.follow(second).text


def test_an_answer_after_the_job_has_changed_does_nothing(
    site: Dashboard, browser: Browser
) -> None:
    job = enqueue(browser)
    question = ask(browser, "remove", job)
    site.cli("cancel", job)
    site.cli("retry", job)
    site.cli("cancel", job)
    answer = browser.follow(browser.post("/answer", list(question.items())))
    assert "is deleted" not in answer.text
    assert site.cli("show", job, "--json").json["state"] == "cancelled"


def test_a_page_of_before_changes_nothing(site: Dashboard, browser: Browser) -> None:
    job = enqueue(browser, id="again")
    mark = mark_of(browser, job)
    site.cli("remove", job)
    enqueue(browser, id="again")
    answer = browser.post("/act", [("action", "cancel"), ("job", mark)])
    assert "has changed since the page was loaded" in browser.follow(answer).text


def test_a_question_belongs_to_its_session(site: Dashboard, browser: Browser) -> None:
    other = site.sign_in()
    job = enqueue(browser)
    question = ask(browser, "cancel", job)
    stolen = [*((n, v) for n, v in question.items() if n != "csrf")]
    assert "nothing was done" in other.follow(other.post("/answer", stolen)).text
    assert site.cli("show", job, "--json").json["state"] == "pending"
    assert "is cancelled" in browser.follow(browser.post("/answer", stolen)).text


def test_the_oldest_question_is_forgotten(site: Dashboard) -> None:
    new = site.sign_in()
    jobs = [enqueue(new) for _ in range(2)]
    first = ask(new, "cancel", jobs[0])
    mark = mark_of(new, jobs[1])
    for _ in range(30):
        last = fields_in(new.post("/act", [("action", "cancel"), ("job", mark)]).text)
    assert "nothing was done" in new.follow(new.post("/answer", list(first.items()))).text
    assert "is cancelled" in new.follow(new.post("/answer", list(last.items()))).text


def test_more_marks_than_a_page_has_are_refused(browser: Browser) -> None:
    marks = [("job", f"{n}.0.pending.x") for n in range(501)]
    answer = browser.post("/act", [("action", "retry"), *marks])
    assert "more than 500 jobs are marked" in browser.follow(answer).text
    many = browser.post("/act", [("a", "b")] * 20_001)
    assert many.status == 400
    assert csrf_in(browser.get("/settings").text) == browser.csrf


def test_a_long_body_is_refused_and_the_next_request_served(browser: Browser) -> None:
    site = browser.site
    head = (f"POST /enqueue HTTP/1.1\r\nHost: {site.host}\r\nCookie: {browser.cookie}\r\n"
            f"Origin: {site.base}\r\nContent-Length: %d\r\n\r\n")  # fmt: skip
    with site.connect() as sock:
        sock.sendall((head % (1 << 40)).encode())
        assert read_answer(sock).status == 413
    # Whoever is not signed in may send less.
    body = b"token=" + b"a" * 20_000
    assert site.ask("POST", "/login", body, [FORM, ("Origin", site.base)]).status == 413
    chunked = f"POST /login HTTP/1.1\r\nHost: {site.host}\r\nOrigin: {site.base}\r\n"
    chunked += "Transfer-Encoding: chunked\r\n\r\n" + "1000\r\n" + "a" * 4096 + "\r\n"
    with site.connect() as sock:
        sock.sendall(chunked.encode() + b"1000\r\n" + b"a" * 4096 + b"\r\n10\r\n" + b"a" * 16)
        assert read_answer(sock).status == 413
    assert browser.get("/jobs?search=" + "a" * 9000).status == 414
    assert browser.get("/").status == 200
