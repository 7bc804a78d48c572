"""Frozen records without `dataclasses`, whose import alone takes longer than the rest of the client's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from typing import Any
else:

    def record(cls: Any) -> Any:
        """Class decorator: the annotated names become fields, in order; values of the class are defaults.

        A default that is a dictionary is copied for each instance.
        """
        names = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}

        def initialize(self: Any, *args: Any, **given: Any) -> None:
            values = dict(zip(names, args))
            wrong = [name for name in given if name not in names or name in values]
            values.update(given)
            for name in names:
                if name not in values and name in defaults:
                    default = defaults[name]
                    values[name] = dict(default) if type(default) is dict else default
            missing = [name for name in names if name not in values]
            if wrong or missing or len(args) > len(names):
                raise TypeError("%s(%s): wrong %s, missing %s" % (cls.__name__, ", ".join(names), wrong, missing))
            self.__dict__.update((name, values[name]) for name in names)

        def refuse(self: Any, name: str, value: Any) -> None:
            raise AttributeError("%s of %s cannot be changed" % (name, type(self).__name__))

        def equals(self: Any, other: Any) -> bool:
            return type(self) is type(other) and self.__dict__ == other.__dict__

        def show(self: Any) -> str:
            shown = ", ".join("%s=%r" % (name, self.__dict__[name]) for name in names)
            return "%s(%s)" % (type(self).__name__, shown)

        cls.__init__, cls.__setattr__, cls.__eq__, cls.__repr__ = initialize, refuse, equals, show
        cls.__hash__ = None
        cls.fields = names
        return cls


__all__ = ["record"]
