"""What a job waits for and what waits for it, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl_core.domain.model import Dependency, Job
from queuectl_core.domain.text import clean_line

from .columns import STATE_ROLES, Cell

if TYPE_CHECKING:
    from queuectl_core.domain.admission import Tree

REMOVED = "removed"
"""Shown as the state of a parent that was removed."""


class Node(NamedTuple):
    """One job in the tree."""

    lead: str
    """The lines of the tree before it."""
    id: str
    state: str
    note: str
    """How it waits, if that is not plain ``after``; and whether it is shown further up."""


def tree_json(tree: Tree) -> dict[str, Any]:
    """The public JSON: the dependencies on both sides of the job."""
    return {
        "parents": [dependency_json(one) for one in tree.parents],
        "children": [dependency_json(one) for one in tree.children],
        "complete": tree.complete,
    }


def dependency_json(one: Dependency) -> dict[str, Any]:
    """The public JSON of one dependency."""
    return {
        "child": one.child,
        "child_state": one.child_state.value,
        "kind": one.kind,
        "parent": one.parent,
        "parent_state": one.parent_state.value if one.parent_state else None,
        "waived": one.waived,
    }


def parent_nodes(job: Job, tree: Tree) -> list[Node]:
    """What ``job`` waits for or waited for, and what these jobs wait for."""
    below: dict[int, list[Dependency]] = {}
    for one in sorted(tree.parents, key=lambda one: one.parent_seq):
        below.setdefault(one.child_seq, []).append(one)
    return list(_nodes(job.seq, below, "", set(), up=True))


def child_nodes(job: Job, tree: Tree) -> list[Node]:
    """What waits for ``job`` or waited for it, and what waits for these jobs."""
    below: dict[int, list[Dependency]] = {}
    for one in sorted(tree.children, key=lambda one: one.child_seq):
        below.setdefault(one.parent_seq, []).append(one)
    return list(_nodes(job.seq, below, "", set(), up=False))


def _nodes(
    root: int, below: Mapping[int, Sequence[Dependency]], lead: str, shown: set[int], *, up: bool
) -> Iterator[Node]:
    """The nodes below ``root``. What is below a job that is shown twice is shown once. Without
    recursion, because a chain of jobs may be long."""
    stack = [(one, lead, last) for one, last in _reversed(below.get(root, ()))]
    while stack:
        one, lead, last = stack.pop()
        seq = one.parent_seq if up else one.child_seq
        state = one.parent_state if up else one.child_state
        notes = [] if one.kind == "after" else [one.kind]
        notes += ["waived"] if one.waived else []
        again = seq in shown and bool(below.get(seq))
        notes += ["see above"] if again else []
        name = clean_line(one.parent if up else one.child)
        yield Node(
            f"{lead}{'└─ ' if last else '├─ '}",
            name,
            REMOVED if state is None else state.value,
            ", ".join(notes),
        )
        if not again:
            shown.add(seq)
            deeper = lead + ("   " if last else "│  ")
            stack += [(next_, deeper, end) for next_, end in _reversed(below.get(seq, ()))]


def _reversed(found: Sequence[Dependency]) -> list[tuple[Dependency, bool]]:
    """Each with whether it is the last one; the last one first."""
    return [(one, number == len(found)) for number, one in enumerate(found, 1)][::-1]


def node_cells(node: Node) -> list[Cell]:
    """One line of the tree."""
    cells: list[Cell] = [(node.lead, "muted"), (node.id, "name"), ("  ", "text")]
    cells.append((node.state, STATE_ROLES.get(node.state, "muted")))
    if node.note:
        cells.append((f"  ({node.note})", "muted"))
    return cells


def tree_lines(job: Job, tree: Tree) -> list[list[Cell]]:
    """The whole tree: the job, what it waits for, and what waits for it."""
    lines: list[list[Cell]] = [
        [(clean_line(job.id), "name"), ("  ", "text"), (job.state.value, STATE_ROLES[job.state])]
    ]
    for title, nodes in (
        ("waits for:", parent_nodes(job, tree)),
        ("is waited for by:", child_nodes(job, tree)),
    ):
        if nodes:
            lines.append([(title, "muted")])
            lines += map(node_cells, nodes)
    if len(lines) == 1:
        lines.append([("it waits for no job, and no job waits for it", "muted")])
    if not tree.complete:
        lines.append([("… and more, which are not shown", "muted")])
    return lines
