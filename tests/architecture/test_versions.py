"""Every module can be imported, on whatever Python this is; and we claim what CI tries."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

IMPORT_ALL = """
import pkgutil, queuectl_core, queuectl_tui, queuectl_web
for package in (queuectl_core, queuectl_tui, queuectl_web):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            __import__(found.name)
            print(found.name)
"""


def test_every_module_can_be_imported() -> None:
    """A warning is an error: what a version of Python will drop is seen a version before."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [
        path
        for package in ("queuectl_core", "queuectl_tui", "queuectl_web")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__main__.py"
    ]
    assert len(done.stdout.splitlines()) == len(files) - 3  # but for the packages themselves


def claimed() -> list[str]:
    """The versions of Python that the package says it is for."""
    prefix = "Programming Language :: Python :: "
    return [one.removeprefix(prefix) for one in PROJECT["classifiers"] if one.startswith(prefix)]


def test_each_version_that_is_claimed_is_tried() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    others = re.findall(r"^PYTHONS \?= (.*)$", makefile, re.MULTILINE)[0].split()
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert claimed() == [oldest, *others]
    gate = (ROOT / ".ci/run").read_text("utf-8")
    assert re.search(r"^make .*\blint pythons$", gate, re.MULTILINE)
    assert re.search(r"^make test$", gate, re.MULTILINE)


def test_the_documentation_claims_the_same_versions() -> None:
    for page in ("README.md", "docs/quickstart.md"):
        text = " ".join((ROOT / page).read_text("utf-8").split())
        assert f"Python {', '.join(claimed()[:-1])} or {claimed()[-1]}" in text, page
