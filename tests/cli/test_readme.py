"""Each example of the README and the docs works without changes, if it can run here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import Cli

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs/quickstart.md"
OPERATIONS = ROOT / "docs/operations.md"


def blocks(page: Path) -> list[str]:
    """The code blocks."""
    return re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def examples(page: Path) -> list[str]:
    """The lines that are typed at a prompt."""
    lines = "".join(blocks(page)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def there(cli: Cli, tmp_path: Path, isolated: Path) -> dict[str, str]:
    """An environment with ``queuectl`` where pipx puts it, and with nothing else that some systems
    lack. So the examples need no preparation."""
    tools = isolated / ".local/bin"
    tools.mkdir(parents=True)
    command = tools / "queuectl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m queuectl_tui "$@"\n')
    command.chmod(0o755)
    path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
    return cli.environment({"PATH": path, "PYTHONPATH": str(ROOT)})


def run(line: str, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_five_minutes(cli: Cli, there: dict[str, str], tmp_path: Path) -> None:
    lines = examples(README)
    assert len(lines) >= 9
    for line in lines:
        if line.startswith("queuectl dlq retry"):
            run("queuectl wait report --timeout 60 -q || true", there, tmp_path)
        run(line, there, tmp_path)
    assert len(cli.json("list")) == 4
    assert cli.json("show", "nightly")["state"] == "pending"
    assert (tmp_path / "my hosts.txt").exists()
    cli("worker", "stop")


def test_what_is_pasted_from_the_readme(cli: Cli, there: dict[str, str], tmp_path: Path) -> None:
    """It needs no file, and sends nothing to anybody."""
    part = README.read_text().split("\n## Five minutes\n")[1].split("\n## ")[0]
    found = re.findall(r"^```\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)
    pasted = [text for text in found if not text.startswith("$ ")]
    assert len(pasted) >= 5
    cli("enqueue", "date", "--id", "nightly")  # of the first block
    empty = tmp_path / "empty"
    empty.mkdir()
    for text in pasted:
        run(f"set -e\n{text}", there, empty)
    cli("cancel", "fetch", "clean", "load", "nightly")
    cli("worker", "start", "--until-idle", "--quiet")
    assert json.loads(cli.json("show", "send")["result"]) == {"sent": 10}


def test_the_quickstart(cli: Cli, there: dict[str, str], tmp_path: Path) -> None:
    lines = examples(QUICKSTART)
    assert len(lines) >= 15
    for line in lines:
        run(line, there, tmp_path)
    assert cli.json("worker", "list") == []
    counts = cli.json("status")["jobs"]
    assert counts | {"pending": 1, "completed": 7} == counts
    assert (tmp_path / "my hosts.txt").exists()


def test_the_cron_line(cli: Cli, there: dict[str, str], tmp_path: Path) -> None:
    (line,) = re.findall(r"^\*/5 \* \* \* \* (.*)$", OPERATIONS.read_text(), re.MULTILINE)
    cli("enqueue", "true", "--id", "j")
    cli("enqueue", "exit 1", "--backoff-base", "3600")
    cron = {name: there[name] for name in ("HOME", "QUEUECTL_STORE", "PYTHONPATH", "TEST_TOKEN")}
    assert run(line, cron | {"PATH": "/usr/bin:/bin"}, tmp_path) == ""
    assert cli.json("show", "j")["state"] == "completed"


def test_the_unit(there: dict[str, str], tmp_path: Path, isolated: Path) -> None:
    (unit,) = [block for block in blocks(OPERATIONS) if "[Unit]" in block]
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    run(start.replace("%h", str(isolated)) + " --help", there, tmp_path)
    program = shutil.which("systemd-analyze")
    if program is not None:
        file = tmp_path / "queuectl.service"
        file.write_text(unit.replace("%h", str(isolated)))
        subprocess.run([program, "--user", "verify", file], check=False, capture_output=True)


def test_backup_and_restore(cli: Cli, there: dict[str, str], tmp_path: Path) -> None:
    part = OPERATIONS.read_text().split("\n## Backup and restore\n")[1].split("\n## ")[0]
    backup, restore = re.findall(r"^queuectl .*$", part, re.MULTILINE)
    cli("enqueue", "true", "--id", "before")
    run(backup.replace("/backup", str(tmp_path)), there, tmp_path)
    cli("enqueue", "true", "--id", "after")
    (made,) = tmp_path.glob("queue-*.db")
    run(re.sub(r"/backup/\S+", f"{made} -y", restore), there, tmp_path)
    assert [job["id"] for job in cli.json("list")] == ["before"]


def test_nothing_says_to_install_from_the_public_index() -> None:
    pages = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text()
        assert not re.search(r"(pip|pipx) install '?queuectl", text)
        assert "queuectl[" not in text
