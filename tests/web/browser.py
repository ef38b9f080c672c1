"""A real browser on a real dashboard."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ..support import Cli

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""Without the later ones Chromium looks for hosts of its maker at every start."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window. Where it is not installed, tests are skipped, but not in CI."""
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass(slots=True)
class Site:
    """A dashboard that is served, and the link that signs in."""

    base: str
    link: str

    @classmethod
    def start(cls, cli: Cli, *options: str) -> Site:
        """Serve the store of ``cli`` on a free port."""
        process = cli.start("dashboard", "--listen", "127.0.0.1:0", *options)
        assert process.stdout is not None
        found = re.search(r"(http://[\d.]+:\d+)\S+", process.stdout.readline())
        assert found is not None
        return cls(found[1], found[0])

    @contextmanager
    def visit(
        self, browser: Browser, *, width: int = 1280, javascript: bool = True, dark: bool = False
    ) -> Iterator[Page]:
        """A page that is signed in. No script may fail and nothing may break the CSP."""
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            java_script_enabled=javascript,
            color_scheme="dark" if dark else "light",
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "console",
            lambda line: said.append(line.text) if "Content Security Policy" in line.text else None,
        )
        page.goto(self.link)
        yield page
        context.close()
        assert said == []
