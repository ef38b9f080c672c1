"""Conformance: standard input, secrets, progress and results."""

from __future__ import annotations

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot, Report
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.operations import copy
from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .stores import Place
from .tools import change, claim, finish, hired


async def again(store: Store, job: Job) -> Job:
    found = await store.by_seq(job.seq)
    assert found is not None
    return found


async def reported(store: Store, job: Job, **report: object) -> Job:
    """The job after its attempt ended with this report."""
    result = ending(job)._replace(report=Report(**report))  # type: ignore[arg-type]
    assert (await finish(store, "sup", result)).refused == frozenset()
    return await again(store, job)


async def test_inputs_are_read_for_many_jobs_at_once(store: Store) -> None:
    texts = ["", "a\0b", "ü" * (1 << 19), None]
    jobs = await store.enqueue([spec(stdin=text) for text in texts], NOW)
    assert [job.has_stdin for job in jobs] == [True, True, True, False]
    assert [job.stdin for job in jobs] == [None] * 4, "reading a job does not read it"
    seqs = [job.seq for job in jobs]
    wanted = {seq: text.encode() for seq, text in zip(seqs, texts, strict=True) if text is not None}
    assert await store.inputs_of([*seqs, 1 << 40]) == wanted
    assert await store.inputs_of([]) == {}


async def test_a_removed_job_leaves_no_texts(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(stdin="x")], NOW)
    [job] = await claim(store)
    await reported(store, job, result=b"y")
    assert await change(store, JobAction.REMOVE, [job.seq], NOW, strict=True) == 1
    assert (await store.inputs_of([job.seq]), await store.results_of([job.seq])) == ({}, {})
    assert (await store.copying().totals())[2:] == (0, 0)


async def test_progress_is_taken_from_the_attempt_that_runs(store: Store) -> None:
    await hired(store, "sup", "sup-1", "sup-2")
    await hired(store, "other")
    await store.enqueue([spec(id="a"), spec(id="b"), spec(id="waits", run_at=NOW + 99)], NOW)
    one, two = sorted(await claim(store, count=2), key=lambda job: job.id)
    waiting = (await store.by_id("waits"))[0]
    assert (one.progress, one.progress_text) == (None, None)
    await store.report_progress("sup", [(one.seq, one.runs, 40.5, "näh"), (two.seq, 1, 7, None)])
    assert [(j.progress, j.progress_text) for j in (await again(store, one),)] == [(40.5, "näh")]
    assert (await again(store, two)).progress == 7
    await store.report_progress("other", [(one.seq, one.runs, 1, None)])
    await store.report_progress("sup", [(one.seq, one.runs + 1, 2, None)])
    await store.report_progress("sup", [(waiting.seq, 0, 3, None), (1 << 40, 1, 4, None)])
    await store.report_progress("sup", [])
    assert (await again(store, one)).progress == 40.5
    assert (await again(store, waiting)).progress is None
    await store.report_progress("sup", [(one.seq, one.runs, 100, None)])
    now = await again(store, one)
    assert (now.progress, now.progress_text) == (100, None), "a text that is not given again goes"
    [worker] = [worker for worker, _ in await store.workers() if worker.job == "a"]
    assert (worker.progress, worker.progress_text) == (100, None)


async def test_the_last_progress_stays_until_the_next_attempt(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a")], NOW)
    [job] = await claim(store)
    await store.report_progress("sup", [(job.seq, job.runs, 40, "x")])
    await finish(store, "sup", ending(job, Outcome.FAILED))
    await store.report_progress("sup", [(job.seq, job.runs, 50, "too late")])
    ended = await again(store, job)
    assert (ended.state, ended.progress, ended.progress_text) == (State.FAILED, 40, "x")
    [second] = await claim(store, now=NOW + 100)
    assert (second.progress, second.progress_text) == (None, None)
    assert await again(store, job) == second
    last = await reported(store, second, progress=90.0, progress_text="y")
    assert (last.progress, last.progress_text, last.has_result) == (90, "y", False)


async def test_a_prefetched_attempt_begins_without_progress_too(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a")], NOW)
    [job] = await claim(store)
    await reported(store, job, progress=10.0, result=b"r")
    await change(store, JobAction.RETRY, [job.seq], NOW, strict=True)
    assert (await again(store, job)).has_result, "until the next attempt starts"
    slots = [ClaimSlot("sup-1"), ClaimSlot("")]
    await store.enqueue([spec(id="b", priority=1)], NOW)
    claimed = (await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))).claimed
    assert [job.id for job in claimed] == ["b", "a"]
    assert (claimed[1].progress, claimed[1].has_result) == (None, False)
    assert await store.results_of([job.seq]) == {}


async def test_a_result_is_that_of_the_last_attempt(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a", max_retries=3)], NOW)
    [job] = await claim(store)
    failed = ending(job, Outcome.FAILED)._replace(report=Report(result=b"\xff\0"))
    await finish(store, "sup", failed)
    assert (await again(store, job)).has_result
    assert await store.results_of([job.seq]) == {job.seq: b"\xff\0"}
    [second] = await claim(store, now=NOW + 100)
    assert not second.has_result
    assert await store.results_of([job.seq]) == {}
    done = await reported(store, second, result=b"")
    assert (done.state, done.has_result, done.progress) == (State.COMPLETED, True, None)
    assert await store.results_of([job.seq]) == {job.seq: b""}


async def test_a_refused_result_reports_nothing(store: Store) -> None:
    await hired(store)
    await hired(store, "other")
    await store.enqueue([spec(id="a"), spec(id="b", priority=-1)], NOW)
    [job] = await claim(store)
    [mine] = await claim(store, "other")
    report = Report(50.0, "x", b"r")
    stale = ending(job)._replace(report=report, run=9)
    answer = await finish(store, "other", ending(job)._replace(report=report), ending(mine), stale)
    assert len(answer.refused) == 2
    now = await again(store, job)
    assert (now.state, now.progress, now.has_result) == (State.PROCESSING, None, False)
    assert await store.results_of([job.seq]) == {}


async def test_replacing_a_job_replaces_all_that_it_gets(store: Store) -> None:
    await hired(store)
    first = spec(id="a", unique="u", stdin="one", secrets={"A": "file:/a"}, max_retries=5)
    [job] = await store.enqueue([first], NOW)
    await claim(store)
    failed = ending(await again(store, job), Outcome.FAILED)
    await finish(store, "sup", failed._replace(report=Report(50.0, "half", b"r")))
    second = spec(unique="u", on_conflict="replace", stdin="two", secrets={"B": "file:/b"})
    [now] = await store.enqueue([second], NOW + 1)
    assert (now.seq, now.existing, now.secrets) == (job.seq, True, {"B": "file:/b"})
    assert (now.progress, now.progress_text, now.has_result) == (None, None, False)
    assert await store.inputs_of([job.seq]) == {job.seq: b"two"}
    assert await store.results_of([job.seq]) == {}
    async with store.batch() as batch:
        await batch.add([(1, second._replace(stdin=None, secrets={}))])
        await batch.commit(NOW + 2)
    now = await again(store, job)
    assert (now.has_stdin, now.secrets, await store.inputs_of([job.seq])) == (False, {}, {})
    async with store.batch() as batch:
        await batch.add([(1, second)])
        await batch.commit(NOW + 3)
    assert await store.inputs_of([job.seq]) == {job.seq: b"two"}


async def test_texts_are_copied_by_key(store: Store) -> None:
    await hired(store)
    texts = [f"{number}" * 1000 for number in range(40)]
    jobs = await store.enqueue([spec(stdin=text) for text in texts], NOW)
    for job in await claim(store):
        await reported(store, job, result=b"r")
    copying = store.copying()
    first, last = jobs[0].seq, jobs[-1].seq
    page = await copying.inputs(first, last, 5)
    assert [one.seq for one in page] == [job.seq for job in jobs[1:6]]
    assert await copying.results(0, last, 5) == [(first, b"r")]
    assert await copying.results(first, last, 5) == []
    assert (await copying.totals())[2:] == (40, 1)


async def test_a_copied_store_has_all_texts(place: Place, store: Store) -> None:
    if store.shared_by_hosts:
        pytest.skip("tests/store/test_copying.py copies between all kinds of store")
    await hired(store)
    jobs = await store.enqueue(
        [spec(stdin=f"in {n}", secrets={"A": "file:/a"}) for n in range(40)], NOW
    )
    for job in await claim(store):
        await reported(store, job, result=b"r", progress=3.0)
    await store.deregister("sup")
    target = await open_store(
        str(place.folder / "target.db"), {"HOME": str(place.folder)}, marked=True
    )
    try:
        copied = await copy.copy(store, target, lambda *_: None)
        assert copied.same
        assert {row.what for row in copied.rows} >= {"standard inputs", "results"}
        seqs = [job.seq for job in jobs]
        assert await target.inputs_of(seqs) == await store.inputs_of(seqs)
        assert await target.results_of(seqs) == {jobs[0].seq: b"r"}
        assert await target.scan(Filter(), 100) == await store.scan(Filter(), 100)
    finally:
        await target.close()
