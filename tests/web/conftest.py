"""Dashboards that the tests of one module share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support import Cli
from .dashboard import TOKEN, Browser, Dashboard
from .hostile import fill

Starter = Callable[..., Dashboard]


def cli_in(folder: Path) -> Cli:
    """The command line with a store in a folder."""
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    return Cli(folder / "queue.db", folder, env=home)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store full of hostile text. It is copied, and stays as it is."""
    folder = tmp_path_factory.mktemp("filled")
    runner = cli_in(folder)
    fill(runner)
    runner.close()
    return folder


@pytest.fixture(scope="module")
def shared(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store full of hostile text. What is started with it ends with the module."""
    folder = tmp_path_factory.mktemp("web")
    shutil.copytree(filled, folder, dirs_exist_ok=True)
    runner = cli_in(folder)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def site(shared: Cli) -> Iterator[Dashboard]:
    """A dashboard with a one-time link. Whatever it is asked, it has nothing to complain of."""
    made = Dashboard.start(shared)
    yield made
    assert made.stop() == (0, "", "")


@pytest.fixture(scope="module")
def browser(site: Dashboard) -> Browser:
    """A browser that is signed in there."""
    return site.sign_in()


@pytest.fixture(scope="module")
def there(store: Cli) -> Iterator[Browser]:
    """A browser at a dashboard of the module's own ``store``, which has nothing to complain of."""
    made = Dashboard.start(store)
    yield made.sign_in()
    assert made.stop() == (0, "", "")


@pytest.fixture(scope="module")
def read_only(shared: Cli) -> Browser:
    """A browser at a dashboard that changes nothing."""
    return Dashboard.start(shared, "--read-only").sign_in()


@pytest.fixture(scope="module")
def token_file(shared: Cli) -> Path:
    """A file with a token."""
    path = shared.cwd / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture(scope="module")
def public(shared: Cli, token_file: Path) -> Dashboard:
    """A dashboard that listens on all addresses, behind a proxy."""
    names = ("--name", "queue.example.org", "--name", "Other.Example.org:8443")
    return Dashboard.start(shared, "--token-file", str(token_file), *names, listen="0.0.0.0:0")


@pytest.fixture
def serve(cli: Cli) -> Starter:
    """Starts dashboards on a store of the test's own."""

    def start(*options: str, listen: str = "127.0.0.1:0") -> Dashboard:
        return Dashboard.start(cli, *options, listen=listen)

    return start
