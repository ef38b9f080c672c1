"""The jobs of ``postgres_peers.py`` as tasks of other queues, each as its manual says: an async
task that runs a command as a subprocess. The output is read; a command that fails raises an error.

    python benchmarks/postgres_tasks.py PEER (install | enqueue COUNT | work COUNT)

``PEER_URL`` names the database. ``work`` runs four jobs at a time and ends when all are done. It
uses no module of queuectl, so that another Python can run it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from subprocess import PIPE, STDOUT, CalledProcessError
from typing import Any

URL = os.environ["PEER_URL"]
WORKERS = 4
COMMAND = "true"
ATTEMPTS = 3


async def shell(command: str) -> tuple[int, bytes]:
    """The exit code and the output of a command."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise CalledProcessError(process.returncode, command, output)
    return 0, output


async def procrastinate(action: str, count: int) -> None:
    import procrastinate as module

    app = module.App(connector=module.PsycopgConnector(conninfo=URL))
    retry = module.RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=2)

    @app.task(name="run", retry=retry)
    async def run(command: str) -> None:
        await shell(command)

    async with app.open_async():
        if action == "install":
            await app.schema_manager.apply_schema_async()
        elif action == "enqueue":
            await run.batch_defer_async(*({"command": COMMAND} for _ in range(count)))
        else:
            await app.run_worker_async(wait=False, concurrency=WORKERS)


async def pgqueuer(action: str, count: int) -> None:
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.executors import DatabaseRetryEntrypointExecutor
    from pgqueuer.models import Job
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    driver = AsyncpgDriver(await asyncpg.connect(URL))
    queries = Queries(driver)
    if action == "install":
        await queries.install()
    elif action == "enqueue":
        payloads: list[bytes | None] = [COMMAND.encode()] * count
        await queries.enqueue(["run"] * count, payloads, [0] * count)
    else:
        queue = PgQueuer(driver)

        def retrying(parameters: Any) -> Any:
            return DatabaseRetryEntrypointExecutor(
                parameters=parameters, max_attempts=ATTEMPTS, initial_delay=timedelta(seconds=2)
            )

        @queue.entrypoint("run", executor_factory=retrying)
        async def run(job: Job) -> None:
            await shell((job.payload or b"").decode())

        await queue.qm.run(
            mode=QueueExecutionMode.drain, batch_size=WORKERS // 2, max_concurrent_tasks=WORKERS
        )


async def oban(action: str, count: int) -> None:
    import oban as module
    from oban.schema import install

    pool = await module.Oban.create_pool(URL)
    try:
        if action == "install":
            await install(pool)
            return

        @module.worker(queue="default", max_attempts=ATTEMPTS)
        class Run:
            async def process(self, job: Any) -> Any:
                code, output = await shell(job.args["command"])
                return module.Record({"code": code, "output": output})

        new: Any = Run.new  # type: ignore[attr-defined]
        if action == "enqueue":
            client = module.Oban(pool=pool)
            await client.enqueue_many([new({"command": COMMAND}) for _ in range(count)])
            return
        async with module.Oban(pool=pool, queues={"default": WORKERS}):
            while await _left(pool):
                await asyncio.sleep(0.02)
    finally:
        await pool.close()


async def _left(pool: Any) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT 1 FROM oban_jobs WHERE state <> 'completed' LIMIT 1"
        )
        return await cursor.fetchone() is not None


def main() -> None:
    name, action, *rest = sys.argv[1:]
    peers = {"procrastinate": procrastinate, "pgqueuer": pgqueuer, "oban": oban}
    asyncio.run(peers[name](action, int(rest[0]) if rest else 0))


if __name__ == "__main__":
    main()
