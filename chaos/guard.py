"""Nothing that a campaign started outlives it, however it ends.

Processes of a campaign leave their session and their parent, as queuectl's do. So the campaign
runs in a child of this process, which is the *subreaper* of all of them (``prctl(2)``): an orphan
becomes its child, and is found and ended. The child ends when this process is killed, and this
process ends when ``make`` is.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

INSIDE = "CHAOS_INSIDE"
"""The pid of the guard; set for the process that it started."""
PATIENCE = 15.0
"""Seconds for a campaign to clear up after itself."""
OVERTIME = 30.0
"""Seconds after which a campaign that should be over is ended."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the campaign alone clears up."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def end_with(parent: int) -> None:
    """Get SIGTERM when ``parent``, our parent, ends."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def enter() -> None:
    """In the process that the guard started: a signal is an exception, so that what was begun is
    cleared up; and so is the end of the guard."""

    def leave(number: int, frame: object) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in SIGNALS:
        signal.signal(number, leave)
    end_with(int(os.environ.pop(INSIDE)))


def guarded(arguments: Sequence[str], seconds: float) -> int:
    """Run ``python -m chaos`` with these arguments in a child; its exit code. ``seconds``: what it
    was given; it is ended when it takes much longer (0: never)."""
    if os.environ.get("MAKELEVEL"):
        end_with(os.getppid())
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o711)  # PostgreSQL's server runs as another user, in a folder of its own
    told: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: told.append(number))
    child = subprocess.Popen(
        [sys.executable, "-m", "chaos", *arguments],
        env=os.environ | {INSIDE: str(os.getpid()), "TMPDIR": str(folder)},
        start_new_session=True,  # ctrl-c comes from us, once
    )
    until = 0.0
    latest = time.monotonic() + seconds + OVERTIME if seconds else float("inf")
    try:
        while True:
            try:
                code = child.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > latest and not told:
                print("it took longer than its time: ended", flush=True)
                told.append(signal.SIGALRM)
            if told and not until:
                child.terminate()
                until = time.monotonic() + PATIENCE
            if until and time.monotonic() > until:
                child.kill()
    finally:
        end_descendants()
        _clear(folder, keep="--keep" in arguments)
    return 128 + told[0] if told else code


def end_descendants() -> None:
    """Kill all descendants of this process, until there are none."""
    me = psutil.Process()
    while found := me.children(recursive=True):
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(found, timeout=1.0)


def _clear(folder: Path, *, keep: bool) -> None:
    """Remove all files; small disks that are still mounted there first."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        mounts = []
    for line in mounts:
        target = line.split()[1]
        if target.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)
    if keep and any(folder.iterdir()):
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
