"""What users see, kept in a file, and compared character by character.

With ``UPDATE_SNAPSHOTS=1`` the file is written again. Read the diff.
"""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path


def same_as(path: Path, text: str) -> None:
    """Fails unless ``text`` is what the file has."""
    text = text.rstrip("\n") + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    expected = path.read_text("utf-8")
    lines = (expected.splitlines(), text.splitlines())
    assert text == expected, "\n".join(unified_diff(*lines, path.name, "now", lineterm=""))
