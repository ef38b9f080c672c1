"""``queuectl progress``, for jobs. It opens no store: the supervisor reads the file."""

from __future__ import annotations

import os

from .declare import UsageError, argument, verb
from .session import Session

VARIABLE = "QUEUECTL_PROGRESS"
DRAFT = ".tmp"
"""What the name of the file ends in before it is complete. The supervisor removes it with the
others of the attempt, because we may be killed."""
TURNS = 100
"""How often several that write at the same time get in each other's way, at most."""


@verb(
    "progress",
    examples=("queuectl progress 40", "queuectl progress 40.5 indexing part 3 of 7"),
)
@argument("percent", metavar="PERCENT")
@argument("text", metavar="[TEXT]...", many=True, required=False)
def progress(session: Session, percent: str, text: tuple[str, ...]) -> None:
    """Inside a job: say how far it is, from 0 to 100 percent, with a text if you like.

    It writes the file that the variable QUEUECTL_PROGRESS names. A job may also do so itself: echo
    '40 indexing' > "$QUEUECTL_PROGRESS". The last value is shown by show, status, the console and
    the dashboard. It is read once a second, so it may be written as often as you like.
    """
    from queuectl_core.domain.text import clean_line

    number = percent.removesuffix("%")
    whole, _, part = number.partition(".")
    digits = whole.isdecimal() and whole.isascii() and (part or "0").isdecimal() and part.isascii()
    if not digits or len(whole) > 3 or len(number) > 30 or float(number) > 100:
        shown = clean_line(percent, 40)
        raise UsageError(f"'{shown}' is not a percentage; give a number from 0 to 100")
    path = os.environ.get(VARIABLE)
    if not path:
        raise UsageError("this is not a job of queuectl: progress is for commands that it runs")
    said = clean_line(" ".join(text), 200)
    _write(path, f"{number} {said}".rstrip() + "\n")


def _write(path: str, line: str) -> None:
    """Replace the file in one step, so that nobody reads half of it."""
    from queuectl_core.domain.errors import StoreError

    draft = f"{path}{DRAFT}"
    try:
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
            # Otherwise root could replace a device.
            raise ValueError("it is not a regular file")
        fd = _new_file(draft)
        try:
            os.write(fd, line.encode("utf-8", "replace"))
        finally:
            os.close(fd)
        try:
            os.replace(draft, path)
        except FileNotFoundError:
            pass  # the job runs several of us at once: another one has just done so
    except (OSError, ValueError) as error:
        try:
            os.unlink(draft)
        except (OSError, ValueError):
            pass
        from queuectl_core.domain.text import clean_line

        why = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"cannot write the progress to {clean_line(path, 200)}: {why}") from None


def _new_file(path: str) -> int:
    """A new file there. One that is there was left by one of us that was killed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for turn in range(TURNS):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        try:
            return os.open(path, flags, 0o600)
        except FileExistsError:  # another one was quicker
            if turn == TURNS - 1:
                raise
    raise AssertionError("unreachable")
