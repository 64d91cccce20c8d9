"""The one plug-in mechanism for all that learners can extend: a name and a callable."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from .errors import UnknownNameError

Entry = TypeVar("Entry")  # what a registry holds
Registered = TypeVar("Registered")


class Registry(Generic[Entry]):
    """Plain functions or classes of one `kind`, by name.

    >>> grouping: Registry[Callable] = Registry("grouping strategy")
    >>> @grouping.register("random")
    ... def random_groups(): ...
    >>> grouping["random"] is random_groups
    True

    Keyword arguments of `register` are stored with the callable: `facts(name)`.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, tuple[Entry, dict[str, Any]]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Registered], Registered]:
        """Return a decorator that registers a callable; a `name` in use is rejected."""

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
