"""What hooks deliver, word by word: the file in ``snapshots`` is what a receiver gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from queuectl_core.domain import hooks as rules
from queuectl_core.domain.events import Event, EventKind
from queuectl_core.domain.hooks import Entry, Hook, HookEvent, Origin

from .. import snapshots
from ..presentation.samples import hook
from ..support import NOW

FOLDER = Path(__file__).parent / "snapshots"
ORIGIN = Origin(NOW, "eve@alpha", "cli")


def row(**fields: Any) -> dict[str, Any]:
    """A row of the query ``hook_facts``."""
    values: dict[str, Any] = {
        "id": "a",
        "queue": "mail",
        "command": "x" * 4096,
        "is_argv": False,
        "attempts": 2,
        "max_retries": 3,
        "crashes": 1,
        "exit_code": 7,
        "last_error": "e" * 2049,
        "reason": None,
        "cause": None,
        "schedule": "night",
        "scheduled_at": NOW - 60,
        "worker": "w1",
        "host": "alpha",
        "created_at": NOW - 50,
        "started_at": NOW - 40,
        "finished_at": NOW - 30,
        "tail": b"\xff end",
    }
    return values | fields


def shown(hook: Hook, event: HookEvent) -> str:
    text = rules.body(hook.name, event)
    found = json.loads(text)
    detail = found["detail"]
    for name in ("command", "error", "reason"):
        if len(detail.get(name) or "") > 100:
            detail[name] = f"{detail[name][:9]} … {detail[name][-9:]} ({len(detail[name])})"
    return json.dumps(found)


def deliveries() -> Iterator[str]:
    every = hook("every", events=rules.EVENTS)
    for event in rules.EVENTS:
        for queue in (None, "mail"):
            one = every._replace(events=(event,), queue=queue)
            yield shown(one, rules.sample_event(one, NOW, "eve@alpha"))
    long = json.dumps(["x" * 2000, "y" * 3000])
    for event, given in (
        ("dead", row()),
        ("dead", row(reason="given", finished_at=None)),
        ("failed", row(command="x" * 4097, last_error="e" * 2048)),
        ("cancelled", row(cause="p", last_error=None, tail=None, scheduled_at=None)),
        ("cancelled", row()),
        ("completed", row(command='["a", "b c"]', is_argv=True)),
        ("completed", row(command=long, is_argv=True)),
    ):
        yield shown(every, rules.job_event(given, event, ORIGIN))
    for queue in ("q", "q" * 200, "q" * 201, 5):
        lost = Event(EventKind.WORKER_LOST, NOW, name="w1", detail={"queue": queue}, actor="w")
        found = rules.stored_event(lost)
        yield f"{found.kind} {found.reason} {found.queue == queue} {shown(every, found)[:80]}"
    yield shown(every, rules.empty_event("mail", ORIGIN))


def digests() -> Iterator[str]:
    alike = [Entry("job.dead", "mail", "r", 1, NOW - n, NOW + n, (f"j{n}",)) for n in range(7)]
    other = Entry("job.failed", None, "", 9, NOW - 9, NOW - 8, ())
    yield rules.digest_body("d", [*alike, other], NOW, "eve@alpha")
    yield rules.digest_body("d", [other], NOW, "eve@alpha", is_test=True)
    for count in (100, 101, 102):
        groups = [Entry("job.dead", "q", f"r{n}", n, NOW, NOW, ()) for n in range(1, count + 1)]
        detail = json.loads(rules.digest_body("d", groups, NOW, ""))["detail"]
        yield f"{len(detail['groups'])} {detail['groups'][0]['count']} {detail.get('more')}"


def plans() -> Iterator[str]:
    hooks = [
        hook("all", events=("dead", "queue.empty")),
        hook("mail", queue="mail"),
        hook("digest", digest=60.0),
        hook("paused", paused_at=NOW),
    ]
    yield f"watched {rules.watched(hooks)} {rules.watched(hooks[1:])} {rules.watched([])}"
    facts_of = [row(queue=queue, reason="r" * 201) for queue in ("mail", "x")]
    plan = rules.plan(hooks, [rules.job_event(one, "dead", ORIGIN) for one in facts_of])
    for one, text in plan.bodies:
        yield f"a body for {one.name} of {json.loads(text)['detail']['queue']}"
    for name, entry in plan.entries:
        yield f"an entry for {name} of {entry.queue}: {len(entry.reason)}, {entry.number}"
    yield f"by hook {[(one.name, len(texts)) for one, texts in rules.by_hook(plan.bodies)]}"
    marks = [(1, "dead", 7, None), (2, "failed", 8, None), (3, "dead", 9, None)]
    facts = {7: row(), 8: row(queue="x"), 9: row(queue="a")}
    yield f"maybe empty {rules.maybe_empty(hooks, marks, facts)}"
    yield f"maybe empty {rules.maybe_empty(hooks[1:], marks, facts)}"
    made = rules.delivery(hooks[0], "text", NOW)
    yield str(made._replace(env={}))
    for queue, command, code in (
        ("hooks", ("queuectl", "hook", "deliver", "a"), 94),
        ("hooks", ("queuectl", "hook", "deliver", "a"), 93),
        ("hooks", ("queuectl", "hook", "deliver"), 94),
        ("hooks", ("queuectl", "hook", "delivers", "a"), 94),
        ("mail", ("queuectl", "hook", "deliver", "a"), 94),
        ("hooks", "queuectl hook deliver a", 94),
    ):
        unwanted = rules.is_unwanted(queue, command, code)
        yield f"{queue} {command} {code}: {unwanted} {rules.may_be_unwanted(queue, code)}"
    web = hook("web", url="http://a", updated_at=NOW)
    for url, at in (("http://a", NOW), ("http://a", NOW - 1), ("http://b", NOW)):
        yield f"gone {url} {at - NOW}: {rules.Gone('web', url, at).means(web)}"
    yield str(rules.paused_as_gone(web, NOW + 1)[7:])


def test_what_is_delivered() -> None:
    text = "\n".join([*deliveries(), *digests(), *plans()])
    snapshots.same_as(FOLDER / "deliveries.txt", text)
