"""If /proc is not mounted (in a chroot or some containers), verbs that do not need it work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import Cli, eventually

BARE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
EMPTY = "mount -t tmpfs none /proc && "


def _can_unmount() -> bool:
    try:
        return subprocess.run([*BARE, EMPTY + "true"], check=False, timeout=20).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not _can_unmount(), reason="cannot make a mount namespace")


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """Runs each verb without /proc: ``cli.shell``."""
    return Cli(tmp_path / "queue.db", tmp_path)


def run(cli: Cli, words: str) -> tuple[int, str, str]:
    script = f'{EMPTY} exec "$0" -m queuectl_tui {words}'
    done = subprocess.run(
        [*BARE, script, sys.executable],
        capture_output=True,
        text=True,
        env=cli.environment(),
        cwd=cli.cwd,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_does_not_need_it_works(bare: Cli, tmp_path: Path) -> None:
    bare("enqueue", "--id", "a", "true")
    for words in ("cancel a", "retry a", "backup copy.db", "store copy --to other.db"):
        code, _, said = run(bare, words)
        assert (code, "error" in said) == (0, False), said
    code, out, _ = run(bare, "doctor")
    assert code == 1
    assert "leftovers\tbad\t/proc is not mounted" in out


@pytest.mark.parametrize("words", ["worker start", "worker start -d", "restore -y copy.db"])
def test_what_needs_it_says_so(bare: Cli, words: str) -> None:
    bare("enqueue", "--id", "a", "true")
    bare("backup", "copy.db")
    code, out, said = run(bare, words)
    assert (code, out) == (5, "")
    assert said.startswith("queuectl: error: /proc is not mounted: ")
    assert len(said.splitlines()) == 1


def test_workers_that_live_are_not_taken_for_dead(bare: Cli) -> None:
    """Their FIFOs and locks show it, as for workers in another pid namespace."""
    bare("enqueue", "true")
    try:
        bare("worker", "start", "-d")
        bare("wait", "--all")
        eventually(lambda: bare.json("worker", "list")[0]["state"] == "idle")
        _, out, _ = run(bare, "worker list --json")
        assert [worker["state"] for worker in json.loads(out)] == ["idle"]
        _, out, _ = run(bare, "doctor --repair")
        assert "forgotten" not in out
        code, _, said = run(bare, "store copy --to other.db")
        assert (code, "workers are up" in said) == (4, True)
        code, out, _ = run(bare, "worker stop")
        assert (code, len(out.split())) == (0, 1)
    finally:
        bare.close()
