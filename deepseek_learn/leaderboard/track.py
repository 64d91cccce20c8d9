"""The interface of a track: it draws problems from seeds, and scores entries on them.

The scorer holds the problem with its data, labels and reference. The entry runs in a
process of its own, started by `start`, and sees only what the track sends to it.
"""

import hashlib
import importlib
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Protocol

from ..errors import UnknownNameError
from ..registry import Registry
from .source import EntryError

NAMES = ("grouping", "attention", "update_rules", "samplers")


class Contestant(Protocol):
    """The scorer's interface to an entry in its own process (`process.Process`)."""

    def ask(self, question: str, *arguments: Any) -> Any:
        """Ask the entry and return its answer, which is data, but may be any."""

    def cpu_seconds(self) -> float:
        """Return the processor time of the entry's process and its descendants."""
        ...


Start = Callable[[], AbstractContextManager[Contestant]]


@dataclass(frozen=True)
class RaceResult:
    """The score of one entry on one problem.

    Attributes:
        score: the track's figure.
        facts: measurements that a comparison needs, such as the time.
    """

    score: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class EntryServer:
    """The server in the entry's process, which answers the scorer's questions.

    Each public method except `take` answers one kind of question.
    """

    def take(self, module: ModuleType) -> None:
        """Look up the objects that the track needs in the imported entry.

        Raises:
            EntryError: if one is missing.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Track:
    """A category of entries, with its problems and its score.

    Attributes:
        name: the name of its folder and of its module.
        version: increased when the protocol changes, which makes all entries pending.
        reference: the name of the entry that all others are compared with.
        better: `"lower"` or `"higher"`.
        is_share: whether scores are fractions of 1; then gains are differences.
        slack: the tolerance for the mean gain of a re-run, besides its standard errors.
        seconds, memory_mib: limits of each of the entry's processes; the memory is its
            address space, of which torch takes a part (see `sandbox.Sandbox`).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    reference: ClassVar[str]
    better: ClassVar[str]
    is_share: ClassVar[bool] = False
    slack: ClassVar[float] = 0.01
    seconds: float = 60
    memory_mib: int = 4000

    def problem(self, seed: int) -> Any:
        """Draw a problem; all entries of a race get the same ones."""
        raise NotImplementedError

    def measure(
        self,
        problem: Any,
        start: Start,
        settings: Mapping[str, Any],
        reference: RaceResult | None,
    ) -> RaceResult:
        """Score an entry on a problem.

        Args:
            problem: what `problem` drew.
            start: opens a new process of the entry.
            settings: those of the entry's metadata.
            reference: the reference's outcome on this problem; None for itself.

        Raises:
            EntryError: if the entry fails; the message is one sentence.
        """
        raise NotImplementedError

    def server(self) -> EntryServer:
        """Return the server that runs in the entry's process."""
        raise NotImplementedError

    def gain(self, score: float, reference: float) -> float:
        """Return the gain over a reference: a difference, or the logarithm of a ratio."""
        if self.is_share:
            return score - reference if self.better == "higher" else reference - score
        ratio = score / reference if self.better == "higher" else reference / score
        return math.log(ratio)


def load_track(name: str) -> Track:
    """Return a track by its name.

    Raises:
        UnknownNameError: if there is none; the message lists them.
    """
    if name not in NAMES:
        raise UnknownNameError("track", name, NAMES)
    return importlib.import_module(f".{name}", __package__).TRACK


def derived_seed(seed: int, purpose: str) -> int:
    """Return a seed that an entry may see, since it does not reveal `seed`."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def registered_name(module: ModuleType, registry: Registry, before: set[str]) -> str:
    """Return the name that an entry registered, or that its `ENTRY` states.

    Args:
        before: the names that the registry had before the entry was imported.

    Raises:
        EntryError: if it is none, more than one, or unknown.
    """
    stated, new = getattr(module, "ENTRY", None), sorted({*registry} - before)
    if stated is None and len(new) == 1:
        return new[0]
    if stated is None:
        raise EntryError(
            f"an entry must register one {registry.kind}, or state the name of a "
            f"registered one as ENTRY; it registers {', '.join(new) or 'none'}."
        )
    if stated not in registry:
        raise EntryError(
            f"ENTRY must be the name of a registered {registry.kind}; got {stated!r}."
        )
    return stated


def function_of(module: ModuleType, name: str) -> Callable:
    """Return a function of the entry.

    Raises:
        EntryError: if it defines no such function.
    """
    function = getattr(module, name, None)
    if not callable(function):
        raise EntryError(f"an entry of this track must define the function {name}().")
    return function
