"""Following output while its file changes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queuectl_core.operations.attempt_output import AttemptOutput
from queuectl_core.supervisor.maintenance.output_limit import Capture
from queuectl_tui.cli import logs

LIMIT = 1 << 16


@pytest.mark.parametrize("replaced_at", [0, 2])
@pytest.mark.parametrize("replaced_for", [1, 2, 5])
async def test_a_long_output_is_not_repeated_when_its_job_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced_for: int, replaced_at: int
) -> None:
    """The file is replaced before the store says that the job has ended; also before we begin."""
    monkeypatch.setattr(logs, "POLL", 0)
    path = tmp_path / "1.1.log"
    written = b"".join(b"%07d\n" % number for number in range(100_000))
    path.write_bytes(written)
    shown, notes, looks = bytearray(), [], 0

    def say_over() -> None:
        with path.open("ab") as file:
            file.write(b"over\n")

    async def changed() -> bool:
        nonlocal looks
        looks += 1
        if looks == replaced_at - 1:
            say_over()
        elif looks == replaced_at:
            Capture(path, LIMIT).finish(len(written) + 5)
        return looks == replaced_at + replaced_for

    async def output(job: Any, number: int) -> AttemptOutput:
        return AttemptOutput(1, path, b"", running=False, total=len(written) + 5)

    async def get(seq: int) -> Any:
        return SimpleNamespace(seq=1, id="a")

    out = SimpleNamespace(raw=shown.extend, flush=lambda: None)
    session: Any = SimpleNamespace(out=out, err=SimpleNamespace(note=notes.append), json=False)
    queue: Any = SimpleNamespace(changed=changed, output=output, get=get)
    job: Any = SimpleNamespace(seq=1, id="a")
    if not replaced_at:
        say_over()
        Capture(path, LIMIT).finish(len(written) + 5)
    one = logs.LogPrinter(session, queue, job, 2, raw=True, timestamps=False)
    await one._attempt(AttemptOutput(1, path, b"", running=True, total=0), follow=True)
    assert bytes(shown) == (b"0099998\n" if replaced_at else b"") + b"0099999\nover\n"
