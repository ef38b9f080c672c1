"""The exception tree and its exit codes, pinned: scripts depend on them."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain import errors
from queuectl_core.domain.errors import (
    BatchRejected,
    InvalidInput,
    QueueError,
    StoreError,
    StoreTooNew,
)
from queuectl_core.domain.text import clean_line

TREE = {
    "QueueError": (Exception, 1),
    "InvalidInput": (errors.QueueError, 2),
    "BatchRejected": (errors.InvalidInput, 2),
    "NotFound": (errors.QueueError, 3),
    "Conflict": (errors.QueueError, 4),
    "JobChanged": (errors.Conflict, 4),
    "StoreError": (errors.QueueError, 5),
    "StoreUnreachable": (errors.StoreError, 5),
    "StoreGone": (errors.StoreUnreachable, 5),
    "StoreLocked": (errors.StoreError, 5),
    "StoreReadOnly": (errors.StoreError, 5),
    "StoreFull": (errors.StoreError, 5),
    "StoreTooNew": (errors.StoreError, 5),
    "StoreDamaged": (errors.StoreError, 5),
    "StoreForeign": (errors.StoreDamaged, 5),
    "HostShort": (errors.QueueError, 5),
    "WorkersNotStarted": (errors.QueueError, 1),
    "TimedOut": (errors.QueueError, 124),
}


def test_the_tree_and_the_exit_codes() -> None:
    found = {
        name: (cls.__base__, cls.exit_code)
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, QueueError)
    }
    assert found == TREE


def test_the_tree_is_drawn_in_the_docstring() -> None:
    assert errors.__doc__ is not None
    for name in TREE:
        assert name in errors.__doc__


def test_a_message_and_what_to_do() -> None:
    error = StoreTooNew("store a.db has schema 9", "upgrade queuectl")
    assert str(error) == "store a.db has schema 9; upgrade queuectl"
    assert (error.message, error.hint) == ("store a.db has schema 9", "upgrade queuectl")
    assert str(StoreError("no hint")) == "no hint"


@pytest.mark.parametrize(("total", "words"), [(1, "1 bad line;"), (7, "7 bad lines;")])
def test_a_rejected_batch_says_how_many(total: int, words: str) -> None:
    error = BatchRejected([(3, "command is missing")], total)
    assert words in str(error)
    assert (error.problems, error.total) == ([(3, "command is missing")], total)


@given(st.text(st.characters()), st.text(st.characters()))
def test_a_message_is_always_one_clean_line(message: str, hint: str) -> None:
    error = InvalidInput(message, hint)
    assert str(error) == clean_line(str(error))
    assert "\n" not in str(error)
