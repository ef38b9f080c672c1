"""``dataclass``, with the work put off until the first instance is made.

The standard decorator writes and compiles six functions for each class: half a millisecond, times
the thirty classes that every verb imports and few of which it uses. This one gives the class its
slots and an ``__init__`` that has the standard one do the rest when it is first called. Type
checkers are shown the standard one, and what an instance is and does is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - for others to import
else:

    def dataclass(*, frozen: bool = False, slots: bool = False) -> Any:
        """The decorator; other options of the standard one are not needed here."""
        return lambda cls: _put_off(cls, frozen, slots)


def _put_off(cls: Any, frozen: bool, slots: bool) -> Any:
    members = dict(vars(cls))
    names = members.get("__annotations__", {})
    fields = {name: members[name] for name in names if name in members}  # defaults
    fields |= {"__annotations__": names, "__module__": cls.__module__, "__doc__": cls.__doc__}
    if slots:  # which only a new class can be given, and which take the place of defaults
        for name in ("__dict__", "__weakref__", *(names.keys() & members.keys())):
            members.pop(name, None)
        cls = type(cls)(cls.__name__, cls.__bases__, members | {"__slots__": tuple(names)})

    def first(self: Any, *args: Any, **kwargs: Any) -> None:
        _finish(cls, fields, frozen)
        self.__init__(*args, **kwargs)

    cls.__init__ = first
    return cls


def _finish(cls: Any, fields: dict[str, Any], frozen: bool) -> None:
    """Give ``cls`` what the standard decorator makes. Two threads may do it at once: both make
    the same, and ``__init__``, which leads here, is replaced last."""
    import dataclasses

    made: Any = dataclasses.dataclass(frozen=frozen)(type(cls.__name__, (), dict(fields)))
    for name, value in vars(made).items():
        if name in _MADE and (name not in vars(cls) or name == "__init__"):
            setattr(cls, name, value)


_MADE = {
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__"),
    *("__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__", "__init__"),
}
"""What the standard decorator adds."""
