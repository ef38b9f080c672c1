"""The shim with the campaign's clock: run by path in its place, with the same arguments."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # it is run with -I, as the shim is
    from chaos.agent import move_clock

    sys.path.remove(str(ROOT))
    move_clock(Path(os.environ["CHAOS_CLOCK"]))
    runpy.run_path(str(ROOT / "queuectl_core" / "runner" / "__main__.py"), run_name="__main__")
