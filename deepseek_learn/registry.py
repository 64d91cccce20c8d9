"""A registry that maps names to functions, classes or other objects.

Learners use registries to add their own methods to the library.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
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
        modules: for each name whose module is imported when it is first looked up, that
            module, which registers the name.
    """

    def __init__(self, kind: str, modules: Mapping[str, str] | None = None):
        self.kind = kind
        self.modules = dict(modules or {})
        self._entries: dict[str, tuple[Entry, dict[str, Any]]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Registered], Registered]:
        """Return a decorator that registers an object under `name`.

        The decorator raises `ValueError` if another object already has that name.
        """

        def decorator(entry: Registered) -> Registered:
            other = name in self._entries and self._entries[name][0] is not entry
            own = getattr(entry, "__module__", None) == self.modules.get(name)
            if other or (name in self.modules and not own):
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
        self.modules.pop(name, None)

    def facts(self, name: str) -> dict[str, Any]:
        self[name]
        return self._entries[name][1]

    def __getitem__(self, name: str) -> Entry:
        if name in self.modules and name not in self._entries:
            importlib.import_module(self.modules[name])
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, list(self))
        return self._entries[name][0]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.modules

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._entries, *self.modules}))
