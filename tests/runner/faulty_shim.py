"""A shim in which calls fail: ``python faulty_shim.py KIND RUN NAME TERM KILL``.

Each place that calls something fails when it is first reached: with MemoryError (KIND ``memory``)
or with OSError (``system``). With ``often`` every 80th call fails, wherever it is. With ``exit``
there is once no memory for what ``wait4`` has to say. Each fault is a line on standard error.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from queuectl_core.runner import journal, loop

KIND = sys.argv.pop(1)
FOLDER = str(Path(loop.__file__).parent)
seen: set[tuple[CodeType, int]] = set()
chance = random.Random(7)
home = 0


def fail(frame: FrameType, event: str, arg: Any) -> None:
    """Called before each call of a function."""
    caller = frame.f_back if event == "call" else frame if event == "c_call" else None
    if caller is None or not caller.f_code.co_filename.startswith(FOLDER):
        return
    if frame.f_code.co_name == "<lambda>":
        return  # the handler of SIGCHLD, which may be called anywhere
    site = caller.f_code, caller.f_lasti
    if KIND == "exit":
        return
    if KIND == "often":
        if chance.random() > 1 / 80:
            return
    elif site in seen:
        return
    if os.getpid() != home:
        return  # a child, before it runs its program
    seen.add(site)
    name = Path(caller.f_code.co_filename).name
    os.write(2, f"{name}:{caller.f_lineno} in {caller.f_code.co_name}\n".encode())
    if KIND == "system" or (KIND == "often" and chance.random() < 0.5):
        raise OSError(errno.ENOMEM, "injected")
    raise MemoryError("injected")


class FaultyShim(loop.Shim):
    """Python stops asking after each fault, so it is told to go on."""

    def turn(self) -> None:
        sys.setprofile(fail)
        super().turn()

    def contained(self, step: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        sys.setprofile(fail)
        super().contained(step, *args, **kwargs)


def wait4(pid: int, options: int) -> tuple[int, int, Any]:
    """It fails once, when it has reaped a child."""
    found = REAL_WAIT4(pid, options)
    if found[0] and KIND == "exit" and not seen:
        seen.add((wait4.__code__, 0))
        raise MemoryError
    return found


REAL_WAIT4 = os.wait4

if __name__ == "__main__":
    loop.REST = loop.PAUSE = 0.002
    journal.COMPACT_AT = 2000
    os.wait4 = wait4  # type: ignore[assignment]
    home = os.getpid()
    loop.ignore_signals()
    os.chdir("/")
    FaultyShim(*sys.argv[1:]).run()
    os._exit(0)
