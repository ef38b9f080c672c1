"""The OpenAPI description as a test of answers and as a source of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from queuectl_web.api import OPERATIONS
from queuectl_web.openapi import describe

from .hostile import TEXTS

DESCRIPTION: dict[str, Any] = describe(OPERATIONS)
KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to."""
    while "$ref" in schema:
        schema = DESCRIPTION["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    schema = resolved(schema)
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        found |= _properties(part)
    return found


def mismatch(value: Any, schema: Mapping[str, Any], at: str = "", *, open_: bool = False) -> str:
    """Why a value is not as described; empty if it is. A field that is not described is wrong."""
    schema = resolved(schema)
    kinds = schema.get("type", [])
    names = [kinds] if isinstance(kinds, str) else kinds
    allowed = tuple(kind for name in names for kind in KINDS[name])
    if names and (not isinstance(value, allowed) or (type(value) is bool and bool not in allowed)):
        return f"{at}: {value!r} is not {names}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at}: {value!r} is not one of {schema['enum']}"
    for rule, some in (("oneOf", True), ("anyOf", True), ("allOf", False)):
        found = [mismatch(value, part, at, open_=not some) for part in schema.get(rule, ())]
        if found and (all(found) if some else any(found)):
            return "; ".join(filter(None, found))
    if isinstance(value, list):
        return next(
            filter(None, (mismatch(v, schema.get("items", {}), f"{at}[]") for v in value)), ""
        )
    if not isinstance(value, dict) or "allOf" in schema:
        return ""
    known, more = _properties(schema), schema.get("additionalProperties")
    if missing := set(schema.get("required", ())) - set(value):
        return f"{at}: lacks {missing}"
    for name, one in value.items():
        if name not in known and more is None and known and not open_:
            return f"{at}.{name}: not described"
        if found := mismatch(one, known.get(name, more or {}), f"{at}.{name}"):
            return found
    return ""


ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            *(*TEXTS, "", "0", "-1", "٣", "²", "NaN", "1e999", "9" * 30, "0" * 5000, "a" * 200),
            *("../..", "%00", "\0", "\ud800", "\udcff", "true", "null", "dead", "dead,pending"),
            *("--5", "1,2", "a b"),
        ]
    ),
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.booleans(),
    st.lists(st.one_of(st.text(max_size=3), st.integers(), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers()), max_size=2),
)
"""Values for any place."""

GOOD: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["output", "done-0", "dead-0", "dead", "later-1", "nobody", "a1"]),
    "key": st.sampled_from(["max-retries", "timeout", "shell", "no-such-key"]),
    "name": st.sampled_from(["default", "other", "javascript:alert.2", "nobody"]),
    "after": st.lists(st.sampled_from(["later-1", "done-0", "nobody"]), max_size=2),
    "rate": st.sampled_from(["60/1m", "none", None]),
    "for": st.sampled_from(["10m", 60, None]),
    "command": st.sampled_from(["true", ["echo", "a"]]),
    "queue": st.sampled_from(["default", "other"]),
    "since": st.sampled_from(["30m", "24h"]),
    "run_at": st.sampled_from(["+1d", "2031-01-31T09:00:00Z", 1_900_000_000]),
    "cwd": st.just("/"),
    "workers": st.just(["nobody"]),
}
"""Values that mean something."""


def fitting(schema: Mapping[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Values as described."""
    schema = resolved(schema)
    kinds = schema.get("type", "null")
    for rule in ("oneOf", "anyOf"):
        if rule in schema:
            return st.one_of(*(fitting(part, name) for part in schema[rule]))
    if name in GOOD:
        return GOOD[name]
    if isinstance(kinds, list):
        return st.one_of(*(fitting({**schema, "type": kind}, name) for kind in kinds))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kinds == "object" and "properties" in schema:
        fields = {n: fitting(part, n) for n, part in schema["properties"].items()}
        needed = {n: fields[n] for n in schema.get("required", ())}
        return st.fixed_dictionaries(
            needed, optional={n: f for n, f in fields.items() if n not in needed}
        )
    if kinds == "object":
        return st.dictionaries(st.sampled_from("AB"), st.just("1"), max_size=2)
    if kinds == "array":
        return st.lists(fitting(schema["items"], name), max_size=3)
    return {
        "string": st.text(max_size=10),
        "integer": st.integers(schema.get("minimum", -3), min(schema.get("maximum", 30), 10**6)),
        "number": st.sampled_from([0, 1, 2.5]),
        "boolean": st.booleans(),
        "null": st.none(),
    }[kinds]


def worn(value: Any) -> st.SearchStrategy[Any]:
    """A value with one place of it made odd."""
    if isinstance(value, dict) and value:
        return st.sampled_from(sorted(value)).flatmap(
            lambda name: worn(value[name]).map(lambda odd: {**value, name: odd})
        )
    return ODD
