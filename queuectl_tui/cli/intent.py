"""What the user meant by an argument of ``enqueue`` that does not look like a job. Imported only
when there is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.json_mistakes import CURLY, FIELD_NAMES, quoted
from queuectl_core.domain.text import clean_line

SHOWN = 160

_FILE = re.compile(r"[^\s;|&<>$(){}]+\.(json|jsonl|ndjson|yaml|yml|csv|tsv)", re.IGNORECASE)
_FIELD = re.compile(rf"[{{,]?\s*\"?({FIELD_NAMES})\"?:", re.IGNORECASE)
_CURLY = ("“", "”", "„", "‘", "’")


def odd(job: str) -> bool:
    """Whether this JOB looks wrong: JSON in pieces, YAML, the name of a file, curly quotes."""
    word = job.strip()
    return (
        word.startswith(_CURLY)
        or _FILE.fullmatch(word) is not None
        or _FIELD.match(word.removeprefix("- ")) is not None
    )


def refuse_odd(job: str) -> None:
    """InvalidInput for a JOB that is neither a command nor JSON."""
    word = job.strip()
    shown = clean_line(word, 60)
    if word.startswith(_CURLY):
        plain = word.translate(CURLY).strip("\"'")
        line = f"queuectl enqueue {clean_line(shlex.quote(plain), SHOWN)}"
        raise InvalidInput(
            f"the job begins with curly quotes: {shown}", f"type straight ones: {line}"
        )
    if _FIELD.match(word.removeprefix("- ")):
        if word.startswith("- ") or re.match(r"\w+:\s", word):
            raise InvalidInput(
                f"'{shown}' looks like YAML; queuectl reads JSON, not YAML", _in_quotes(word)
            )
        raise InvalidInput(
            f"'{shown}' is a piece of JSON", f"the shell took the JSON apart; {_in_quotes(word)}"
        )
    if match := _FILE.fullmatch(word):
        kind = match[1].lower()
        if kind.startswith(("y", "c", "t")):
            raise InvalidInput(
                f"'{shown}' looks like a file; queuectl reads JSON, not "
                f"{'YAML' if kind[0] == 'y' else 'CSV'}",
                "write one JSON object a line, and: queuectl enqueue --file F",
            )
        raise InvalidInput(
            f"'{shown}' looks like a file of jobs", f"type: queuectl enqueue --file {shown}"
        )


def _in_quotes(pieces: str) -> str:
    """How to type JSON that arrived without its quotes."""
    line = clean_line(shlex.quote(quoted(pieces.removeprefix("- "))), SHOWN)
    return f"type: queuectl enqueue {line}"


def refuse_words(jobs: Sequence[str]) -> None:
    """InvalidInput for several JOBs of which the first is one word: a command without quotes."""
    first = jobs[0].strip()
    cut = first.startswith("{") and not first.endswith("}")
    if cut or (not first.startswith("{") and _FIELD.match(first)):
        pieces = clean_line(" ".join(jobs), 60)
        raise InvalidInput(
            f"{pieces}: this is JSON in pieces",
            f"the shell took the JSON apart; {_in_quotes((' ' if cut else ',').join(jobs))}",
        )
    for job in jobs:
        if job.startswith(_CURLY):
            refuse_odd(job)
    if any(job.lstrip().startswith(("[", "{")) or not job for job in jobs):
        return
    if re.search(r"\s", first):
        return  # several quoted commands
    raise InvalidInput(
        f"{len(jobs)} jobs, or one command without its quotes?",
        f"for one command, {line_for(jobs)}",
    )


def line_for(words: Sequence[str]) -> str:
    safe = all(re.fullmatch(r"[\w./:@%+=,]+", word) for word in words)
    if safe:
        return f"type: queuectl enqueue '{' '.join(words)}'"
    return f"type: queuectl enqueue -- {clean_line(shlex.join(words), SHOWN)}"
