"""The documentation says what the code says, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_core.domain import errors
from queuectl_core.domain.config import KEYS, env_name

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted(DOCS.rglob("*.md"))

SHELL_COMPLETION = {"COMP_WORDS", "COMP_CWORD"}
"""Set by the completion script of a shell for one call, so not documented."""
PYTHON = {"PYTHONIOENCODING"}


def links(page: Path) -> Iterator[str]:
    """The targets of all links and pictures of a page, without those on the web."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), target


def test_each_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    left = [DOCS / "README.md"]
    while left:
        page = left.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (target.partition("#")[0] for target in links(page))
        left += [(page.parent / target).resolve() for target in targets if target]
    assert set(DOCS.rglob("*.md")) <= seen


def test_generated_pages_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man")
def test_the_man_page_is_sound() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", DOCS / "man/queuectl.1"],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unminimize" in done.stdout + done.stderr:
        pytest.skip("this system has no man pages")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "queuectl worker start [OPTIONS]" in done.stdout
    assert "EXIT STATUS" in done.stdout


def read_by_the_code() -> set[str]:
    """Environment variables that the code names."""
    found = {env_name(key) for key in KEYS}
    for package in ("queuectl_core", "queuectl_tui", "queuectl_web"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            found |= set(re.findall(r"""env(?:iron)?(?:\.get\(|\[)b?"([A-Z_]+)\"""", text))
            found |= set(re.findall(r"\bQUEUECTL_[A-Z_]+[A-Z]\b", text))
    return found - SHELL_COMPLETION - PYTHON


def test_environment_variables_are_documented() -> None:
    text = (DOCS / "reference/environment.md").read_text("utf-8")
    text += (DOCS / "reference/configuration.md").read_text("utf-8")
    documented = set(re.findall(r"`([A-Z_]+)`", text))
    assert read_by_the_code() <= documented | {"PWD"}
    ours = {name for name in documented if name.startswith("QUEUECTL_")}
    assert ours <= read_by_the_code()


def test_exit_codes_are_documented() -> None:
    text = (DOCS / "reference/exit-codes.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"^\| `(\d+)` \|", text, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    used = {kind.exit_code for kind in kinds if issubclass(kind, errors.QueueError)}
    by_signals = {128 + 2, 128 + 15}
    assert documented == {0} | used | by_signals


def test_messages_that_are_explained_exist() -> None:
    """What the troubleshooting table quotes is said by the code, but for numbers."""
    page = (DOCS / "operations.md").read_text("utf-8").split("## Troubleshooting")[1]
    first_cells = re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE)
    quoted = [text for cell in first_cells for text in re.findall(r"`([^`]*)`", cell)]
    messages = [text for text in quoted if " " in text]
    assert len(messages) >= 8
    paths = [
        path
        for name in ("queuectl_core", "queuectl_tui", "queuectl_web")
        for path in (ROOT / name).rglob("*.py")
    ]
    code = "\n".join(path.read_text("utf-8") for path in paths)
    code = re.sub(r"\"\n\s*f?\"", "", code)  # one text on several lines
    for message in messages:
        pattern = re.sub(r"\d+", r"(\\d+|\\{[^}]*\\})", re.escape(message))
        assert re.search(pattern, code), message
