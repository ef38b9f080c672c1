"""The form of the files that hold the output of an attempt.

``NAME.log`` holds what the attempt wrote. Text in brackets stands where bytes are missing. While
the attempt runs, a hole may follow that text (``output.py``). When it has ended, there is no hole.

``NAME.times`` says when bytes came: the moment when the attempt began (:data:`HEADER`), then pairs
of an offset and a moment (:data:`STAMP`). Moments are on ``lease_clock``. Output that came all at
once has no such file.
"""

import struct

MARK = b"\n[queuectl: "
"""How the text begins that stands for missing bytes."""
MARK_ROOM = 96
"""Bytes in which that text fits."""

HEADER = struct.Struct("<d")
STAMP = struct.Struct("<Qd")


def dropped_mark(limit: int, count: int | None = None) -> bytes:
    """Stands for ``count`` bytes in the middle that were dropped; None: it is not known yet."""
    some = "" if count is None else f"{count} "
    return b"%s%sbytes dropped here, output-limit is %d]\n" % (MARK, some.encode(), limit)


def lost_mark(count: int) -> bytes:
    """Stands for ``count`` bytes that could not be written, or whose file was removed."""
    return b"%s%d bytes lost here, they could not be written]\n" % (MARK, count)


def times_path(path: str) -> str:
    """Where the moments of the output file ``path`` are kept."""
    return path.removesuffix(".log") + ".times"
