"""One plug-in idea for everything that learners may add to: a name and a callable."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from .errors import UnknownNameError

Entry = TypeVar("Entry")  # what a registry holds
Added = TypeVar("Added")


class Registry(Generic[Entry]):
    """Names of plain functions or classes of one `kind`.

    >>> grouping: Registry[Callable] = Registry("grouping strategy")
    >>> @grouping.register("random")
    ... def random_groups(): ...
    >>> grouping["random"] is random_groups
    True

    Facts given to `register` by keyword are kept beside the callable: `facts(name)`.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, tuple[Entry, dict[str, Any]]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Added], Added]:
        """Decorator: keep the callable under `name`; an existing name is refused."""

        def keep(entry: Added) -> Added:
            if name in self._entries and self._entries[name][0] is not entry:
                raise ValueError(
                    f"{self.kind} {name!r} is already registered; choose another name "
                    f"or call unregister({name!r}) first."
                )
            self._entries[name] = (entry, facts)
            return entry

        return keep

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
