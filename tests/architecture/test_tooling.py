"""What a fresh clone relies on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): pinned for name, pinned in pairs}


EXTRAS = [
    text
    for extra in ("postgres", "web", "metrics", "smoke", "dev")
    for text in PROJECT["optional-dependencies"][extra]
]
"""What ``make lint`` and ``make test`` install."""


def test_constraints_are_names_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line), line


def needed(texts: list[str], extras: set[str]) -> list[Requirement]:
    """Those of a package's requirements that hold here, with these extras."""
    found = [Requirement(text) for text in texts]
    return [
        one
        for one in found
        if not one.marker or any(one.marker.evaluate({"extra": e}) for e in extras or {""})
    ]


def test_everything_we_install_is_pinned() -> None:
    left = needed([*PROJECT["dependencies"], *EXTRAS], set())
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        one = left.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) not in seen:
            seen.add((name, extras))
            left += needed(requires(name) or [], set(extras))
    assert {name for name, _ in seen} <= set(constraints())


def test_direct_requirements_allow_what_is_pinned() -> None:
    pinned = constraints()
    optional = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *EXTRAS, *optional["bench"], *optional["mutants"]]:
        requirement = Requirement(text)
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_gate_can_be_run() -> None:
    gate = ROOT / ".ci" / "run"
    assert gate.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", gate], check=True)


@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "run",
        "test",
        "smoke",
        "fuzz",
        "lint",
        "format",
        "clean",
        "chaos",
        "mutants",
        "bench",
        "soak",
        "reference",
    ],
)
def test_make_has_the_target(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_what_runs_need() -> None:
    """SQL and style files are read from beside the code: none may be kept out of the wheel."""
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["queuectl_core", "queuectl_tui", "queuectl_web"]
    ignored = subprocess.run(
        ["git", "check-ignore", "--", *(str(path) for path in data_files())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout == "", "hatch leaves out what git ignores"


def data_files() -> list[Path]:
    return [
        path
        for package in ("queuectl_core", "queuectl_tui", "queuectl_web")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
