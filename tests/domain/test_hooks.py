"""The rules of hooks: names, events, URLs, what a digest says, signatures."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.hooks import (
    EVENTS,
    GONE,
    MOST_GROUPS,
    SAMPLE,
    Entry,
    Hook,
    HookEvent,
    body,
    check_events,
    check_name,
    check_url,
    digest_body,
    is_unwanted,
    masked,
    matches,
    merged,
    plan,
    sample_event,
    secret_key,
    signature,
    watched,
)

NOW = 1_790_000_000.0


def hook(*events: str, **fields: Any) -> Hook:
    values: dict[str, Any] = dict.fromkeys(Hook._fields)
    values |= {"name": "h", "digest": 0.0, "job": {}, "created_at": NOW, "updated_at": NOW}
    return Hook(**(values | {"events": events} | fields))


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "é", "a" * 65, "a\n"])
def test_names_are_plain_words(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)


def test_events_are_found_by_both_spellings_and_kept_once() -> None:
    assert check_events(["job.dead,failed", "DEAD", "queue.empty"]) == (
        "dead",
        "failed",
        "queue.empty",
    )
    assert check_events(EVENTS) == EVENTS
    with pytest.raises(InvalidInput, match="did you mean 'dead'"):
        check_events(["deat"])
    with pytest.raises(InvalidInput, match="needs an event"):
        check_events([" "])


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "ftp://h/", "file:///etc/passwd", "http://", "http:///x", "http://h:0/"),
        *("http://h:99999/", "http://h/a b", "http://h/\n", "http://h/é", "http://[::1/"),
        "http://h/" + "x" * 3000,
    ],
)
def test_only_http_urls_are_accepted(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url)


def test_urls_are_masked() -> None:
    shown = masked("https://user:secret@hooks.example.org:8443/services/T0/B0/XXXX?token=1#f")
    assert shown == "https://***@hooks.example.org:8443/serv***"
    assert masked("http://h/hook") == "http://h/***"
    assert masked("http://h/12345678") == "http://h/1234***"
    assert masked("http://h/") == "http://h/"
    assert masked("http://h?key=1") == "http://h***"


def test_what_is_watched() -> None:
    assert watched([]) == []
    assert watched([hook("dead"), hook("failed", paused_at=1.0)]) == ["dead"]
    assert watched([hook("queue.empty", "worker.lost")]) == [
        "cancelled",
        "completed",
        "dead",
        "worker.lost",
    ]


@pytest.mark.parametrize(
    ("queue", "command", "code", "unwanted"),
    [
        ("hooks", ("queuectl", "hook", "deliver", "a"), GONE, True),
        ("hooks", ("queuectl", "hook", "deliver", "a"), 1, False),
        ("hooks", ("notify", "94"), GONE, False),
        ("hooks", "exit 94", GONE, False),
        ("default", ("queuectl", "hook", "deliver", "a"), GONE, False),
    ],
)
def test_only_deliveries_to_a_url_can_be_unwanted(
    queue: str, command: Any, code: int, unwanted: bool
) -> None:
    assert is_unwanted(queue, command, code) is unwanted


def test_a_queue_is_compared_only_if_it_is_given() -> None:
    assert matches(hook("worker.lost"), "worker.lost", None)
    assert not matches(hook("worker.lost", queue="a"), "worker.lost", None)
    assert matches(hook("dead", queue="a"), "dead", "a")
    assert not matches(hook("dead", queue="a"), "dead", "b")


ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(["job.dead", "job.failed"]),
    queue=st.sampled_from([None, "a", "b"]),
    reason=st.sampled_from(["", "exit 1", "exit 2: x"]),
    number=st.integers(1, 100_000),
    first_at=st.floats(0, 1e9),
    last_at=st.floats(1e9, 2e9),
    jobs=st.lists(st.text("ab", min_size=1), max_size=7).map(tuple),
)


@given(st.lists(ENTRIES, min_size=1, max_size=30))
def test_merging_loses_no_event_and_is_bounded(entries: list[Entry]) -> None:
    found = merged(entries)
    assert sum(one.number for one in found) == sum(one.number for one in entries)
    keys = [(one.kind, one.queue, one.reason) for one in found]
    assert len(set(keys)) == len(keys)
    assert all(len(one.jobs) <= 7 for one in found)
    assert min(one.first_at for one in found) == min(one.first_at for one in entries)
    assert merged(found) == found


def test_a_digest_of_many_reasons_counts_those_it_does_not_show() -> None:
    entries = [Entry("job.dead", "q", f"r{n}", n + 1, NOW, NOW, ("j",)) for n in range(500)]
    detail = json.loads(digest_body("h", entries, NOW, "me@here"))["detail"]
    shown = detail["groups"]
    assert len(shown) == MOST_GROUPS
    assert shown[0]["count"] == 500
    assert detail["more"]["groups"] == 400
    assert detail["count"] == sum(group["count"] for group in shown) + detail["more"]["count"]


def test_a_plan_gathers_the_events_of_one_commit() -> None:
    events = [HookEvent("dead", NOW, "a", "worker", f"j{n}", "q", {}, "exit 1") for n in range(9)]
    found = plan([hook("dead", digest=60.0), hook("dead", name="each")], events)
    assert [name for name, _ in found.entries] == ["h"]
    [(_, entry)] = found.entries
    assert (entry.number, len(entry.jobs)) == (9, SAMPLE)
    assert len(found.bodies) == 9


@given(st.text(), st.text())
def test_a_delivery_is_ascii_on_one_line(job: str, text: str) -> None:
    found = body("h", HookEvent("dead", NOW, text, "worker", job, "q", {"error": text}))
    assert found.isascii()
    assert found.endswith("}\n")
    assert found[:-1].isprintable()
    assert json.loads(found)["detail"]["error"] == text


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_has_a_sample(event: str) -> None:
    found = json.loads(body("h", sample_event(hook(event), NOW, "me@here")))
    assert found["detail"]["test"] is True


def test_signatures_are_those_of_standard_webhooks() -> None:
    # The example of github.com/standard-webhooks/standard-webhooks.
    key = secret_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_are_raw_or_base64() -> None:
    assert secret_key(b"raw key\r\n") == b"raw key"
    assert secret_key(b"whsec_" + base64.b64encode(b"\0\xff")) == b"\0\xff"
    for content in (b"", b"\n", b"whsec_", b"whsec_%%%"):
        with pytest.raises(InvalidInput):
            secret_key(content)


@pytest.mark.parametrize(
    "secret", [b"whsec_" + base64.b64encode(b"k\n") + b"\n", b"a key\r\n", b"k"]
)
def test_the_sample_of_the_documentation_accepts_what_is_sent(secret: bytes) -> None:
    page = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    at, content = int(time.time()), b'{"a": 1}\n'
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(at),
        "webhook-signature": signature(secret_key(secret), "m", at, content),
    }
    assert names["is_genuine"](headers, content, secret)
    assert not names["is_genuine"](headers, content + b" ", secret)
