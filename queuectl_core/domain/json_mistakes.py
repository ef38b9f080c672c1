"""Explains what is wrong with text that should be JSON, and what to type instead.

Imported only when a parser has refused the text. It corrects one common mistake after another. If
the corrected text is JSON, it has found the mistake.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable
from contextlib import suppress

from .errors import InvalidInput
from .text import clean_line

LONGEST = 20_000
"""Characters. Longer text is not corrected. The error only names the place."""
SHOWN = 200
"""How many characters of a corrected line are shown."""

CURLY = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\u00a0": " "})
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|(?<![^\s,{{}}\[\]])#[^\n]*|/\*.*?\*/", re.DOTALL)
_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")
_WORD = re.compile(rf"({_STRING})|\b(True|False|None)\b")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.){0,30}"?|\S{1,30}')


def _kept(pattern: re.Pattern[str], text: str, other: Callable[[re.Match[str]], str]) -> str:
    """``text`` with the matches of ``pattern`` replaced, except inside JSON strings."""
    return pattern.sub(lambda match: match[1] if match[1] is not None else other(match), text)


def _python(text: str) -> str:
    with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        value = ast.literal_eval(text)
        if isinstance(value, (dict, list)) and "'" in text:
            return json.dumps(value, ensure_ascii=False)
    return text


_LITERALS = {"True": "true", "False": "false", "None": "null"}

_MISTAKES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("it has backslashes before its quotes", lambda text: text.replace('\\"', '"')),
    ("its quotes are doubled", lambda text: text.replace('""', '"')),
    ("it has curly quotes; JSON has straight ones", lambda text: text.translate(CURLY)),
    ("a comma before } or ] is one too many", lambda text: _kept(_COMMA, text, lambda _: "")),
    ("a comma after the object is one too many", lambda text: text.rstrip().removesuffix(",")),
    ("JSON has no comments", lambda text: _kept(_COMMENT, text, lambda _: " ")),
    ("JSON has double quotes, not single ones", _python),
    ("write true, false or null", lambda text: _kept(_WORD, text, lambda m: _LITERALS[m[2]])),
)

_PLACES = {
    "Expecting ',' delimiter": "a comma is missing before",
    "Expecting ':' delimiter": "a colon is missing before",
    "Expecting property name enclosed in double quotes": "a name in quotes is missing before",
    "Expecting value": "a value is missing before",
    "Illegal trailing comma before end of object": "a comma is one too many before",
    "Illegal trailing comma before end of array": "a comma is one too many before",
}


def explain(error: json.JSONDecodeError, what: str) -> InvalidInput:
    """The error for text that Python's parser refused."""
    text = error.doc
    if command := _command(text, what):
        return command
    if len(text) <= LONGEST:
        for mistake, mend in _MISTAKES:
            mended = mend(text)
            if mended != text and (found := _parsed(mended)):
                said = f"{what} is not valid JSON: {_precise(mistake, text)}"
                line = json.dumps(found, ensure_ascii=False)
                return InvalidInput(said, f"type: {_typed(line, what)}")
        if _unquoted(text):
            line = quoted(text)
            return InvalidInput(
                f"{what} is not valid JSON: its quotes are missing",
                f"{'type:' if what == 'job' else 'write'} {_typed(line, what)}",
            )
    return InvalidInput(f"{what} is not valid JSON: {_place(error, text)}")


def _command(text: str, what: str) -> InvalidInput | None:
    """The error for a shell command that starts like JSON: ``{ a; b; }`` or ``[ -d / ] && x``."""
    word = text.strip()
    group = re.match(r"\{\s+[^\s\"'“}:]+(?!\s*:)[\s;]", word)
    test = re.match(r"\[\[?\s+[^\s\"\[{\]](?:[^,\n]*?)\s\]\]?(?:\s|;|$)", word)
    if not (group and ";" in word and word.rstrip().endswith("}")) and not test:
        return None
    line = clean_line(shlex.quote(word), SHOWN)
    if what != "job":
        line = json.dumps({"command": word}, ensure_ascii=False)
        return InvalidInput(f"{what} is a command, not JSON", f"write {clean_line(line, SHOWN)}")
    return InvalidInput(
        "that starts like JSON, but is a command", f"type: queuectl enqueue --command {line}"
    )


def _parsed(text: str) -> object:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, (dict, list)) else None


def _precise(mistake: str, text: str) -> str:
    if mistake.startswith("a comma before"):
        last = re.findall(r",\s*([}\]])", text)
        return f"a comma before {last[-1]} is one too many"
    return mistake


def _typed(line: str, what: str) -> str:
    if what != "job":
        return clean_line(line, SHOWN)
    return f"queuectl enqueue {clean_line(shlex.quote(line), SHOWN)}"


def _unquoted(text: str) -> bool:
    """Whether it is ``{id:j1,command:echo hi}``: a shell has removed the quotes."""
    return '"' not in text and bool(re.match(r"\s*\{\s*\w+\s*:", text))


FIELD_NAMES = (
    r"id|command|cmd|name|max[_-]?retries|backoff[_-]?base|priority|timeout(?:_seconds)?|"
    r"run[_-]?at|cwd|queue|nice"
)
_PIECE = re.compile(rf"(?:^|[{{,])\s*\"?({FIELD_NAMES})\"?\s*:\s*", re.IGNORECASE)
_MEANT = {"cmd": "command", "name": "id"}
_TEXTS = ("id", "command", "cwd", "queue")
"""Fields that are text even if the value has only digits."""
_NUMBER = re.compile(r"(-?)0*([0-9]{1,15}(?:\.[0-9]{1,9})?)")
"""JSON has no leading zeros."""


def quoted(text: str) -> str:
    """The probable meaning of JSON without its quotes, ``{id:j1,command:echo hi}``; an example if
    it cannot be known."""
    _, *parts = _PIECE.split(text.strip().removesuffix("}"))
    job: dict[str, object] = {}
    for name, rest in zip(parts[::2], parts[1::2], strict=True):
        value = rest.strip().rstrip(",")
        field = _MEANT.get(name.lower(), name)
        number = None if field.lower() in _TEXTS else _NUMBER.fullmatch(value)
        job[field] = json.loads(number[1] + number[2]) if number else value
    if not job.get("command") or any("{" in str(value) for value in job.values()):
        job = {"command": "echo hi"}
    return json.dumps(job, ensure_ascii=False)


def _place(error: json.JSONDecodeError, text: str) -> str:
    where = f" (line {error.lineno} column {error.colno})" if error.lineno > 1 else ""
    rest = text[error.pos :].lstrip()
    if error.msg.startswith("Unterminated string") or not rest:
        return f"it is cut off{where}" if not error.msg.startswith("Extra") else "it ends oddly"
    token = _TOKEN.match(rest)
    shown = clean_line(token[0] if token else "", 40)
    if error.msg == "Extra data":
        if rest.startswith(("{", ",")):
            return "it holds more than one object; make it an array: [{…}, {…}]"
        return f"something follows its end: {shown}"
    if error.msg.startswith("Invalid control character"):
        char = text[error.pos]
        kind, escape = ("line break", r"\n") if char in "\r\n" else ("control character", r"\t")
        return f"a {kind} inside a text; write {escape}{where}"
    if error.msg.startswith("Invalid \\"):
        found = text[error.pos : error.pos + 2]
        return f"{clean_line(found)} is no JSON escape; write \\\\ for a backslash{where}"
    if rest[0].isalpha() and error.msg.startswith(("Expecting value", "Expecting property")):
        bare = clean_line(re.split(r"[\s:,}\]]", rest)[0], 40)
        return f"put {bare} in double quotes{where}"
    known = _PLACES.get(error.msg)
    return f"{known} {shown}{where}" if known else f"{error.msg} at {shown}{where}"


# -- input that is not JSON at all -----------------------------------------------------

_YAML = re.compile(r"---\s*$|- \w+:|\w+:(\s|$)")


def explain_line(line: str, cr: bool) -> str | None:
    """Explains a line of standard input that does not start like a JSON object; None if it is
    another JSON value, which has another error. ``cr``: it ended with CR LF."""
    word = line.strip()
    if word.startswith("#!"):
        ends = " with Windows line ends (CR LF)" if cr else ""
        return f"this is a script{ends}; enqueue its name: queuectl enqueue ./SCRIPT"
    if word.startswith(("#", "//", "/*")):
        return "JSON has no comments; take the line away"
    if _YAML.match(word):
        return 'this looks like YAML; write {"command": "echo hi"}'
    if re.fullmatch(r"[\w-]+(\s*[,;\t]\s*[\w-]+)+", word):
        return 'this looks like CSV; write {"command": "echo hi"}'
    with suppress(ValueError, RecursionError):
        json.loads(word)
        return None
    shown = clean_line(json.dumps({"command": word}, ensure_ascii=False), 100)
    return f"this is a plain command, not JSON; write {shown}"
