"""Adding and testing hooks, for :class:`~queuectl_core.queue.Queue`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..domain import hooks as rules
from ..domain.config import MAX_SECONDS, settings
from ..domain.errors import InvalidInput
from ..domain.hooks import Hook, Tested
from ..domain.jobspec import Defaults, check_queue, check_text, parse_job
from ..domain.text import clean_line, signal_name
from ..domain.times import format_duration
from ..system.clocks import monotonic
from ..system.run_sync import loop_runs

if TYPE_CHECKING:
    import subprocess

TIMEOUT = 30.0
"""Seconds one delivery may take, unless the hook says otherwise."""
RETRIES = 8
"""Attempts of a delivery, unless the hook says otherwise: the last one is four minutes after the
first."""
SHORTEST_DIGEST = 1.0
OUTPUT_LIMIT = 64 * 1024
"""Bytes of a tested command's output that are shown: the last ones."""
LOOK = 0.05
"""Seconds after which a test looks whether the command has ended."""
KILLED = 1.0
"""Seconds in which a killed command must end."""
MOST_READS = 64
"""How often the rest of the output of an ended command is read."""


def new_hook(
    name: str,
    events: Sequence[str],
    now: float,
    *,
    cwd: str,
    queue: str | None = None,
    digest: float | None = None,
    url: str | None = None,
    secret_file: str | None = None,
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    max_retries: int | None = None,
    backoff_base: float = 2.0,
    timeout: float | None = None,
    priority: int = 0,
) -> Hook:
    """A hook that a person describes, or InvalidInput."""
    rules.check_name(name)
    found = rules.check_events(events)
    if url is None and not command:
        raise InvalidInput("a hook needs a URL or a command", "give --url URL, or -- CMD ARG…")
    if url is not None and command:
        raise InvalidInput("a hook has a URL or a command, not both", "add two hooks")
    if secret_file is not None and url is None:
        raise InvalidInput(
            "--secret-file signs what is sent to a URL", "give --url, or leave it out"
        )
    if queue is not None:
        check_queue(queue)
        if queue == rules.QUEUE:
            raise InvalidInput("events of jobs in queue 'hooks' trigger no hook", "name another")
    if digest is not None and not SHORTEST_DIGEST <= digest <= MAX_SECONDS:
        raise InvalidInput("a digest gathers events for 1 second or more", "such as --digest 60s")
    seconds = TIMEOUT if timeout is None else timeout
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidInput("the timeout of a delivery must be above 0", "such as --timeout 30s")
    if isinstance(command, str):
        raise InvalidInput("the command of a hook is a list of texts", "it is run without a shell")
    if url is not None:
        command = (*rules.PROGRAM, name)
    described = {
        "command": list(command),
        "env": env,
        "cwd": cwd or None,
        "max_retries": RETRIES if max_retries is None else max_retries,
        "backoff_base": backoff_base,
        "timeout_seconds": seconds,
        "priority": priority,
    }
    # A delivery is a job like any other, so the same rules hold for it.
    spec, _ = parse_job(described, Defaults(settings({}, {}), cwd, now))
    job = {field: getattr(spec, field) for field in described}
    job |= {"command": [*spec.command], "env": dict(spec.env)}
    if url is not None:
        job["env"][rules.URL_VARIABLE] = rules.check_url(url)
    if secret_file is not None:
        secret_file = os.path.join(cwd, os.path.expanduser(check_text("secret_file", secret_file)))
        job["env"][rules.SECRET_VARIABLE] = secret_file
    return Hook(
        name=name,
        events=found,
        queue=queue,
        digest=digest or 0.0,
        url=url,
        secret_file=secret_file,
        job=job,
        paused_at=None,
        paused_by=None,
        paused_reason=None,
        created_at=now,
        updated_at=now,
    )


async def test(hook: Hook, now: float, actor: str) -> Tested:
    """Deliver a sample from this process. If this is cancelled, the command is killed."""
    if not loop_runs():
        return try_out(hook, now, actor)
    import asyncio
    import threading
    from concurrent.futures import ThreadPoolExecutor

    # The loop has few threads, which others need, and it would wait for them at its end.
    cancelled, threads = threading.Event(), ThreadPoolExecutor(1, "hook-test")
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(threads, try_out, hook, now, actor, cancelled.is_set)
    finally:
        cancelled.set()
        threads.shutdown(wait=False)


def _never() -> bool:
    return False


def try_out(
    hook: Hook, now: float, actor: str, is_cancelled: Callable[[], bool] = _never
) -> Tested:
    """Deliver a sample from this process. It blocks, until ``is_cancelled`` at most: it is asked
    every :data:`LOOK` seconds, also in another thread."""
    event = rules.sample_event(hook, now, actor)
    text = rules.body(hook.name, event)
    if hook.digest:
        jobs = ("test",) if event.job else ()
        entry = rules.Entry(event.kind, event.queue, event.reason, 1, now, now, jobs)
        text = rules.digest_body(hook.name, [entry], now, actor, is_test=True)
    if hook.url is not None:
        return _post(hook, text, is_cancelled)
    return _run(hook, text, is_cancelled)


def _post(hook: Hook, text: str, is_cancelled: Callable[[], bool]) -> Tested:
    import threading

    from ..store.rows import new_ids
    from .deliver import TIMED_OUT, Answer, post, read_key

    key = read_key(hook.secret_file) if hook.secret_file else None
    seconds = hook.job["timeout_seconds"]
    message = f"test-{new_ids(1)[0]}"
    found: list[Answer] = []

    def send() -> None:
        content = text.encode()
        found.append(post(hook.url or "", content, message=message, key=key, timeout=seconds))

    # The timeout of a socket begins anew with every byte, so the whole time is limited here.
    thread = threading.Thread(target=send, name="hook-test", daemon=True)
    thread.start()
    end = monotonic() + seconds
    while thread.is_alive() and not is_cancelled() and (left := end - monotonic()) > 0:
        thread.join(min(left, LOOK))
    answer = found[0] if found else Answer(None, TIMED_OUT)
    said = _late(seconds) if answer.said == TIMED_OUT else answer.said
    return Tested(answer.accepted, said, answer.content, answer.status, None)


def _run(hook: Hook, text: str, is_cancelled: Callable[[], bool]) -> Tested:
    import signal
    import subprocess
    import tempfile

    from ..domain.text import clean_block

    job = hook.job
    env = {**os.environ, **job["env"], "QUEUECTL_JOB_ID": "test", "QUEUECTL_ATTEMPT": "1"}
    env["QUEUECTL_QUEUE"] = rules.QUEUE
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as output, tempfile.TemporaryFile() as given:
            given.write(text.encode())
            given.seek(0)
            process = subprocess.Popen(
                job["command"],
                stdin=given,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=job["cwd"] or None,
                env=env,
                start_new_session=True,
            )
        try:
            ended, tail = _follow(process, reader, job["timeout_seconds"], is_cancelled)
        except BaseException:  # ctrl+c: it is in a session of its own
            _kill(process)
            raise
    except OSError as error:
        return Tested(False, _cannot_start(job, error), "", None, None)
    finally:
        os.close(reader)
    code = process.returncode if ended else -signal.SIGKILL
    said = f"exit {code}" if code >= 0 else f"killed by {signal_name(-code)}"
    shown = clean_block(tail.decode("utf-8", "replace"))
    exit_code = code if code >= 0 else 128 - code
    said = said if ended else _late(job["timeout_seconds"])
    return Tested(code == 0, said, shown, None, exit_code)


def _late(seconds: float) -> str:
    return f"timed out after {format_duration(seconds)}"


def _cannot_start(job: Mapping[str, Any], error: OSError) -> str:
    """Names what is wrong: the directory or the program."""
    why = error.strerror or str(error)
    if error.filename == job["cwd"]:
        return f"cannot use the directory {clean_line(job['cwd'], 200)}: {why}"
    return f"cannot start {clean_line(job['command'][0], 200)}: {why}"


def _follow(
    process: subprocess.Popen[bytes],
    reader: int,
    seconds: float,
    is_cancelled: Callable[[], bool],
) -> tuple[bool, bytes]:
    """Wait for the process, but not for others that hold its output. Returns whether it ended by
    itself in time, and the end of its output."""
    import select
    import subprocess

    os.set_blocking(reader, False)
    tail, end, is_open = bytearray(), monotonic() + seconds, True
    output = select.poll()
    output.register(reader, select.POLLIN)

    def read() -> bool:
        nonlocal is_open
        try:
            some = os.read(reader, OUTPUT_LIMIT)
        except BlockingIOError:
            return False
        is_open = bool(some)
        tail.extend(some)
        del tail[:-OUTPUT_LIMIT]
        return is_open

    while process.poll() is None and not is_cancelled() and (left := end - monotonic()) > 0:
        pause = min(left, LOOK)
        if not is_open:
            with suppress(subprocess.TimeoutExpired):
                process.wait(pause)
        elif output.poll(pause * 1000):
            read()
    ended = process.poll() is not None
    if not ended:
        _kill(process)
    for _ in range(MOST_READS):  # somebody else may go on writing
        if not read():
            break
    return ended, bytes(tail)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, unless it has ended, and its process group."""
    import signal
    import subprocess

    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(KILLED)
