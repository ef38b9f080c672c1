"""The jobs of the drain benchmark as tasks of huey, with what makes them most like ours.

``HUEY_STORE`` names the database. ``fsync``: a task is on the disk when it is enqueued. A task
returns its command's exit code and output, and huey keeps what a task returns.
"""

from __future__ import annotations

import os
import subprocess

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.environ["HUEY_STORE"], fsync=True)


@huey.task(retries=2, retry_delay=2)
def run(command: str) -> tuple[int, bytes]:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    return done.returncode, done.stdout


def enqueue(count: int) -> None:
    for _ in range(count):
        run("true")
