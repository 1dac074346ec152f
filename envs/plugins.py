"""Things known by name: Palaestra's own, those that a program registers, and those that installed packages offer.

    tasks = Plugins("task", {"chain": chain}, group="palaestra.documents")
    tasks.register("riddles", riddles)
    tasks["chain"]

A package offers one as an entry point of the group; it is loaded when it is first asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from palaestra.envs.errors import BrokenPlugin, UnknownName

T = TypeVar("T")


class Plugins(Generic[T]):
    """Things of one kind, by name.

    Args:
        kind: The user's word for such a thing, such as ``"task"``.
        own: Those of Palaestra.
        group: The entry points at which packages offer more; none do if it is empty.
    """

    def __init__(self, kind: str, own: Mapping[str, T], *, group: str = "") -> None:
        self.kind, self.group = kind, group
        self._found = dict(own)

    def register(self, name: str, thing: T) -> T:
        """Make a thing known by name, and return it.

        Raises:
            ValueError: The name is taken by another one.
        """
        if self._found.setdefault(name, thing) is not thing:
            raise ValueError(f"a {self.kind} named {name!r} is registered already; choose another name")
        return thing

    def names(self) -> list[str]:
        """Return all names, sorted; nothing is loaded."""
        offered = entry_points(group=self.group) if self.group else ()
        return sorted({*self._found, *(point.name for point in offered)})

    def __getitem__(self, name: str) -> T:
        """Return a thing by name.

        Raises:
            UnknownName: There is none.
            BrokenPlugin: A package that offers it cannot be loaded.
        """
        if name not in self._found:
            for point in entry_points(group=self.group, name=name) if self.group else ():
                try:
                    self.register(name, point.load())
                except Exception as error:  # a third party's import may fail in any way
                    raise BrokenPlugin(
                        f"{self.kind} {name!r} of an installed package ({point.value}) cannot be loaded: {error}; mend "
                        "or uninstall that package."
                    ) from error
        if name not in self._found:
            raise UnknownName(self.kind, name, self.names(), f"There are {', '.join(self.names())}.")
        return self._found[name]
