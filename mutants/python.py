"""Mutants of Python code: mutmut's changes of a node, and some of our own, on libcst's tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

from .mutant import Mutant

Part = tuple[cst.CSTNode, cst.CSTNode]
"""A part of a node, and what it becomes."""
Change = Callable[[Any], Iterator[Any]]
"""What a node may become, or parts of it."""

NO_FAULT = {
    *("TypeVar", "ParamSpec", "NewType", "getLogger", "cast"),
    *("debug", "info", "warning", "error", "exception"),
}
"""Calls whose arguments are for the type checker, or go into a log."""


def numbers(node: cst.Integer | cst.Float) -> Iterator[cst.BaseExpression]:
    """A limit moves by one. A duration is 0: that it is a bit longer, nobody would notice."""
    value = node.evaluated_value
    if isinstance(node, cst.Float):
        yield cst.Float("0.0" if value else "1.0")
    else:
        yield cst.Integer(str(value + 1))
        if value == 1:
            yield cst.Integer("0")


def strings(node: cst.SimpleString) -> Iterator[cst.SimpleString]:
    """A name or a key is another one. Sentences are left as they are."""
    value = node.evaluated_value
    word = value.decode("latin-1") if isinstance(value, bytes) else value
    if word and not any(sign.isspace() for sign in word) and len(node.quote) == 1:
        yield node.with_changes(value=f"{node.prefix}{node.quote}{node.raw_value}_{node.quote}")


def negation(node: cst.If | cst.While | cst.IfExp) -> Iterator[Part]:
    """The branch is taken when it should not be."""
    test = node.test
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        return  # mutmut drops it
    if not test.lpar:
        test = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.test, cst.UnaryOperation(cst.Not(), test)


def operand(node: cst.BooleanOperation) -> Iterator[cst.BaseExpression]:
    """A condition is not asked for."""
    yield node.left
    yield node.right


def statement(node: cst.SimpleStatementLine) -> Iterator[Part]:
    """A step is left out: a call, or what is stored in an object."""
    if len(node.body) != 1:
        return
    small = node.body[0]
    if isinstance(small, cst.Assign):
        left_out = all(
            isinstance(one.target, (cst.Attribute, cst.Subscript)) for one in small.targets
        )
    else:
        called = small.value if isinstance(small, cst.Expr) else None
        left_out = isinstance(called, (cst.Call, cst.Await)) or isinstance(
            small, (cst.AugAssign, cst.Raise, cst.Continue, cst.Break, cst.Del)
        )
    if left_out:
        yield small, cst.Pass()


def keyword(node: cst.Call) -> Iterator[cst.Call]:
    """An option is not given."""
    for index, argument in enumerate(node.args):
        if argument.keyword is not None:
            rest = [*node.args[:index], *node.args[index + 1 :]]
            if rest and index == len(node.args) - 1:
                rest[-1] = rest[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            yield node.with_changes(args=rest)


OURS: list[tuple[type[cst.CSTNode], Change]] = [
    (cst.Integer, numbers),
    (cst.Float, numbers),
    (cst.SimpleString, strings),
    (cst.If, negation),
    (cst.While, negation),
    (cst.BooleanOperation, operand),
    (cst.SimpleStatementLine, statement),
    (cst.Call, keyword),
]
LEFT_OUT = {
    mutators.operator_number,
    mutators.operator_string,
    mutators.operator_arg_removal,  # None for each argument: a TypeError nearly always
    mutators.operator_assignment,  # None for each value: likewise
    mutators.operator_lambda,
    mutators.operator_match,
}
"""Changes of mutmut's that are worse than ours, or are found by any test that runs the line."""
CHANGES = [*OURS, *(one for one in mutators.mutation_operators if one[1] not in LEFT_OUT)]


def places(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes below ``node`` that may be changed."""
    if isinstance(node, (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Nonlocal)):
        return
    if isinstance(node, cst.Call):
        name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
        if isinstance(name, cst.Name) and name.value in NO_FAULT:
            return
    if isinstance(node, cst.If) and _is_name(node.test, "TYPE_CHECKING"):
        return
    if isinstance(node, cst.Assign) and any(
        _is_name(one.target, "__all__") or _is_name(one.target, "__slots__") for one in node.targets
    ):
        return
    if isinstance(node, cst.Expr) and isinstance(node.value, (cst.BaseString, cst.Ellipsis)):
        return  # a docstring, or nothing
    yield node
    for child in node.children:
        yield from places(child)


def _is_name(node: cst.CSTNode, name: str) -> bool:
    return isinstance(node, cst.Name) and node.value == name


def mutants(path: str, code: str, line: int | None = None) -> list[Mutant]:
    """All mutants of a file; only those of one ``line``, if it is given. A few are no Python."""
    wrapper = MetadataWrapper(cst.parse_module(code), unsafe_skip_copy=True)
    module, positions = wrapper.module, wrapper.resolve(PositionProvider)
    starts = [0, *(at + 1 for at, sign in enumerate(code) if sign == "\n")]
    made: dict[str, Mutant] = {}
    for node in places(module):
        if line is not None and (node not in positions or positions[node].start.line != line):
            continue
        for part, becomes in changes(node):
            where = positions[part]
            start = starts[where.start.line - 1] + where.start.column
            end = starts[where.end.line - 1] + where.end.column
            old, new = code[start:end].strip(), module.code_for_node(becomes).strip()
            start = code.index(old, start)  # an operator begins with the space before it
            end = start + len(old)
            after = code[:start] + new + code[end:]
            if new == old or after in made:
                continue
            what = f"{_shown(old)} → {_shown(new)}"
            made[after] = Mutant(path, where.start.line, what, code, after)
    return sorted(made.values(), key=lambda one: one.line)


def changes(node: cst.CSTNode) -> Iterator[Part]:
    """Each part of ``node`` that may become another, and what it becomes."""
    for kind, change in CHANGES:
        for made in change(node) if isinstance(node, kind) else ():
            part, becomes = made if isinstance(made, tuple) else (node, made)
            # Brackets around a node are no part of it where it stands.
            if getattr(part, "lpar", ()) and getattr(becomes, "lpar", ()):
                becomes = becomes.with_changes(lpar=[], rpar=[])
            yield part, becomes


def _shown(code: str) -> str:
    first, *more = code.splitlines() or [""]
    return f"{first} …" if more else first
