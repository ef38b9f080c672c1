"""Our dataclass is the standard one, made later."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from queuectl_core import values


def pair(decorate: Any) -> Any:
    """The same class, made by one decorator or the other."""

    class Point:
        """A point."""

        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)

        @property
        def sum(self) -> int:
            return self.x + self.y

    return decorate(Point)


OURS = pair(values.dataclass(frozen=True, slots=True))
THEIRS = pair(dataclass(frozen=True, slots=True))


@pytest.mark.parametrize("cls", [OURS, THEIRS], ids=["ours", "standard"])
def test_an_instance_is_the_same(cls: Any) -> None:
    one = cls(1)
    assert (one.x, one.y, one.tags, one.sum) == (1, 2, [], 3)
    assert one.tags is not cls(1).tags
    assert repr(one).endswith("Point(x=1, y=2, tags=[])")
    assert one == cls(x=1, y=2, tags=[]) != cls(2)
    assert hash(cls(1, 2, ())) == hash(cls(1, 2, ()))
    assert cls.__doc__ == "A point."
    assert cls.__match_args__ == ("x", "y", "tags")
    assert dataclasses.replace(one, y=5) == cls(1, 5, [])
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "tags": []}
    assert not hasattr(one, "__dict__")
    with pytest.raises(FrozenInstanceError):
        one.x = 2
    with pytest.raises(FrozenInstanceError):
        del one.x
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        cls()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        cls(1, z=3)


def test_one_that_can_change() -> None:
    made = pair(values.dataclass(slots=True))(1)
    made.x = 5
    assert made == type(made)(5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)
    with pytest.raises(AttributeError):
        made.unknown = 1


def test_a_first_call_that_is_wrong_spoils_nothing() -> None:
    cls = pair(values.dataclass(frozen=True, slots=True))
    with pytest.raises(TypeError, match="missing"):
        cls()
    assert cls(1).y == 2


def test_threads_may_make_the_first_instances_together() -> None:
    for _ in range(20):
        cls = pair(values.dataclass(frozen=True, slots=True))
        start, made = threading.Barrier(4), []

        def make(cls: Any = cls, start: threading.Barrier = start, made: Any = made) -> None:
            start.wait()
            made.append(cls(1, 3))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [cls(1, 3)] * 4


def test_nothing_is_generated_for_what_is_not_used() -> None:
    code = (
        "import queuectl_core.model as model\n"
        "made = [n for n, c in vars(model).items() if hasattr(c, '__dataclass_fields__')]\n"
        "assert made == [], made\n"
        "model.Filter()\n"
        "assert hasattr(model.Filter, '__dataclass_fields__')\n"
        "assert not hasattr(model.Job, '__dataclass_fields__')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
