"""A detached supervisor as a program. Started by ``daemonize.py``; its order comes on stdin."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run by path: an installed package and a plain checkout alike
    sys.path.insert(0, str(Path(__file__).parents[2]))
    __package__ = "queuectl_core.supervisor"

from ..domain.config import settings
from ..domain.errors import HostShort, QueueError
from ..domain.notices import Notice, NoticeKind
from ..store.open import open_store
from ..system.line_writer import LineWriter
from .daemonize import SHORT
from .supervisor import Supervisor

log = logging.getLogger("queuectl")

EXIT_PATIENCE = 1.0
"""Seconds to wait at the end for a log that cannot be written."""


class LogHandler(logging.Handler):
    """Writes to the log without waiting for the disk it is on."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line to the writer."""
        self._writer.put(self.format(record) + "\n")


async def run(order: dict[str, Any]) -> None:
    """Run the workers the order asks for; answer on the pipe once they are up."""
    ready = order["ready"]
    os.set_inheritable(ready, False)
    env = dict(os.environ)
    store = await open_store(order["store"], env, via="worker")
    try:
        level = settings(await store.config(), env).log_level.upper()
        logging.getLogger().setLevel(level)

        def on_notice(notice: Notice) -> None:
            if notice.kind is NoticeKind.UP:
                answer(ready, json.dumps(notice.message.split(", ")))
            write_log(notice)

        supervisor = Supervisor(
            store, env, on_notice=on_notice, detached=True, program=True, trace=level == "DEBUG"
        )
        summary = await supervisor.run(order["count"], tuple(order["queues"]))
        log.info("stopped; %d done, %d failed", summary.done, summary.failed)
    finally:
        await store.close()


def answer(fd: int, text: str) -> None:
    """One line to whoever started us; they may have left."""
    try:
        os.write(fd, text.encode() + b"\n")
        os.close(fd)
    except OSError:
        pass


def write_log(notice: Notice) -> None:
    """A notice as a line of the log: what happens to single jobs only at level debug."""
    job = f"job {notice.job.id}: " if notice.job else ""
    level = {
        NoticeKind.STARTED: logging.DEBUG,
        NoticeKind.ENDED: logging.DEBUG,
        NoticeKind.ATTEMPT: logging.DEBUG,
        NoticeKind.TROUBLE: logging.WARNING,
    }.get(notice.kind, logging.INFO)
    ended = f"{notice.attempt.outcome}, now {notice.state}" if notice.attempt else ""
    log.log(level, "%s %s%s%s", notice.kind, job, notice.message, ended)


def main() -> int:
    """Read the order, run, and say in one line why if it cannot be done."""
    order = json.load(sys.stdin)
    writer = LineWriter(2)
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(process)d %(message)s",
        level=logging.INFO,
        handlers=[LogHandler(writer)],
    )
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    try:
        asyncio.run(run(order))
    except QueueError as error:
        answer(order["ready"], str(error))
        log.error("%s", error)
        return error.exit_code
    except Exception as error:
        short = HostShort.of(error)
        if short is not None:
            answer(order["ready"], f"{SHORT}{short}")
            log.error("%s", short)
            return short.exit_code
        answer(order["ready"], "internal error")
        log.exception("internal error")
        return 1
    finally:
        writer.close(EXIT_PATIENCE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
