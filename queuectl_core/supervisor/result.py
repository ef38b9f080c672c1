"""The result of an attempt: how it ended, why in words, and what that means for its job."""

from __future__ import annotations

import signal

from ..domain.claims import AttemptResult, Report
from ..domain.hooks import is_unwanted
from ..domain.lifecycle import Policy, settle
from ..domain.model import Attempt, Outcome
from ..domain.text import signal_name
from ..domain.times import format_duration
from ..runner import lease_clock
from ..runner.events import Exit
from .attempt import ActiveAttempt, StopReason
from .context import Context
from .maintenance.output_limit import last_line


def make_result(
    attempt: ActiveAttempt,
    exit_: Exit,
    output: tuple[int, bytes],
    context: Context,
    report: Report | None = None,
) -> AttemptResult:
    """What is written down for an attempt. ``output``: how many bytes it wrote, and the last ones.
    ``report``: what it reported.

    How long it took is measured on ``lease_clock``: the store's clock may have been set meanwhile.
    """
    job, conf = attempt.job, context.settings
    now, moment = context.clock(), lease_clock()
    size, tail = output
    outcome, reason = outcome_of(attempt, exit_, tail)
    finished = now - max(0.0, moment - exit_.at)
    if attempt.since is not None:
        started = min(finished, now - (moment - attempt.since))
    else:
        started = attempt.started_at if attempt.started_at is not None else finished
        finished = max(started, finished)
    return AttemptResult(
        seq=job.seq,
        run=job.runs,
        attempt=Attempt(
            number=job.runs,
            started_at=started,
            finished_at=finished,
            outcome=outcome,
            exit_code=exit_.code,
            signal=exit_.signal,
            reason=reason,
            worker=attempt.worker,
            host=attempt.host or context.host,
            peak_memory=exit_.peak_memory,
            cpu_seconds=exit_.cpu_seconds,
            output_bytes=size,
            waited=max(0.0, started - job.waits_from),
        ),
        transition=settle(
            outcome,
            reason,
            attempts=job.attempts,
            crashes=job.crashes,
            # A URL that wants no more deliveries gets this one not again.
            max_retries=0 if is_unwanted(job.queue, job.command, exit_.code) else job.max_retries,
            backoff_base=job.backoff_base,
            policy=Policy(conf.backoff_max, conf.backoff_jitter, conf.max_crashes),
            now=finished,
            jitter=context.rand(),
        ),
        tail=tail,
        queue=job.queue,
        report=report,
    )


def outcome_of(attempt: ActiveAttempt, exit_: Exit, tail: bytes) -> tuple[Outcome, str | None]:
    """How an attempt ended, and why in words. ``tail``: the end of its output."""
    if exit_.fenced:
        return Outcome.INTERRUPTED, exit_.reason
    if exit_.outcome is not None:
        return exit_.outcome, exit_.reason
    if attempt.completed(exit_):
        return Outcome.COMPLETED, None
    outcome, reason = _failed(attempt, exit_, tail)
    if exit_.unsignalled:
        reason += " (it ran as another user, and could not be signalled)"
    return outcome, reason


def _failed(attempt: ActiveAttempt, exit_: Exit, tail: bytes) -> tuple[Outcome, str]:
    if attempt.stop_reason is not None:
        reasons = {
            StopReason.TIMEOUT: f"timed out after {format_duration(attempt.job.timeout_seconds)}",
            StopReason.CANCEL: "cancelled while running",
            StopReason.NOW: "stopped with its worker",
        }
        return attempt.stop_reason.value, reasons[attempt.stop_reason]
    if exit_.reason is not None:
        return Outcome.FAILED, exit_.reason
    if used_up(attempt.job.cpu_seconds, exit_):
        return Outcome.FAILED, f"cpu limit of {attempt.job.cpu_seconds} s reached"
    said = last_line(tail)
    return Outcome.FAILED, f"{exit_words(exit_)}: {said}" if said else exit_words(exit_)


def used_up(limit: int, exit_: Exit) -> bool:
    """Whether a CPU limit ended it: SIGXCPU, also as a shell passes it on, or SIGKILL beyond it."""
    if not limit:
        return False
    if exit_.signal == signal.SIGKILL:
        return (exit_.cpu_seconds or 0) >= limit
    return signal.SIGXCPU in (exit_.signal, (exit_.code or 0) - 128)


def exit_words(exit_: Exit) -> str:
    """``exit 1``, ``command not found (exit 127)``, ``killed by SIGKILL``."""
    if exit_.signal is not None:
        return f"killed by {signal_name(exit_.signal)}"
    known = {126: "cannot execute (exit 126)", 127: "command not found (exit 127)"}
    return known.get(exit_.code or 0, f"exit {exit_.code}")
