"""A registry that maps names to functions, classes or other objects.

Learners use registries to add their own methods to the library.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from .errors import UnknownNameError

Entry = TypeVar("Entry")  # the type of a registry's entries
Registered = TypeVar("Registered")


class Registry(Generic[Entry]):
    """A registry of functions or classes that are looked up by name.

    >>> grouping: Registry[Callable] = Registry("grouping strategy")
    >>> @grouping.register("random")
    ... def random_groups(): ...
    >>> grouping["random"] is random_groups
    True

    Keyword arguments of `register` are stored with the entry and returned by
    `facts(name)`.

    Args:
        kind: a description of the entries, such as "grouping strategy", for error
            messages.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, tuple[Entry, dict[str, Any]]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Registered], Registered]:
        """Return a decorator that registers an object under `name`.

        The decorator raises `ValueError` if another object already has that name.
        """

        def decorator(entry: Registered) -> Registered:
            if name in self._entries and self._entries[name][0] is not entry:
                raise ValueError(
                    f"{self.kind} {name!r} is already registered; choose another name "
                    f"or call unregister({name!r}) first."
                )
            # Python cannot bound one type variable by another
            self._entries[name] = (cast(Entry, entry), facts)
            return entry

        return decorator

    def unregister(self, name: str) -> None:
        self[name]
        del self._entries[name]

    def facts(self, name: str) -> dict[str, Any]:
        self[name]
        return self._entries[name][1]

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name][0]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))
