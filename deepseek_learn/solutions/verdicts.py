"""The output of a solution: one JSON line per item, in a file that survives crashes.

Each line of `verdicts.jsonl` is an object. Schema 2, the same in all solutions:

| key | value |
|---|---|
| `name` | the item's name, which is unique in a folder |
| `sha256` | the SHA-256 of what was judged; zeros if it could not be read |
| `verdict` | "refused" if the item cannot be judged; else one of the solution's own words |
| `reason` | why it was refused, a sentence; in the lines of refused items only |
| `warnings` | what is doubtful about the item, a list of sentences; may be absent |
| `provenance` | the last key: `schema` (2), `version` of the package, `model` (SHA-256 of the weights), `options` (all that can change a verdict), and the `date` |

All other keys are the solution's own. Lines without a `schema` are of an earlier version.

Lines are written by a single call and flushed to the disk, so a killed process leaves at
most one incomplete line at the end of the file. That line is removed when the file is
opened again, and its item is judged once more. No item is lost or judged twice.

Verdicts whose provenance differs in anything but the date are never mixed: the earlier ones
are set aside, and all items are judged again.
"""  # noqa: E501

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .. import __version__
from ..catalog import text
from ..errors import DeepSeekLearnError
from ..files import exclusive

SCHEMA = 2  # of a line
LOG = "verdicts.jsonl"
REFUSED = "refused"
SHOWN = 12  # digits of a checksum in a sentence


class RefusedError(DeepSeekLearnError, ValueError):
    """Raised for an item that cannot be judged; the message is the reason.

    Args:
        reason: a sentence.
        facts: what its line in `verdicts.jsonl` tells besides.
    """

    def __init__(self, reason: str, **facts: Any):
        super().__init__(reason)
        self.facts = facts

    def to_dict(self) -> dict[str, Any]:
        """Return what the line of the refused item tells."""
        return {"verdict": REFUSED, "reason": str(self), **self.facts}


def problem(verdict: Any) -> str | None:
    """Return what is wrong with a line of `verdicts.jsonl`, or None.

    A line of an earlier schema only needs a name and a verdict: it is set aside anyway.
    """
    if not isinstance(verdict, dict):
        return "it is not an object"
    keys = ["name", "verdict"]
    if "schema" in _provenance(verdict):
        keys += ["sha256"] + ["reason"] * (verdict.get("verdict") == REFUSED)
        if "reason" in verdict and "reason" not in keys:
            return "it has a reason, but was not refused"
    for key in keys:
        if not isinstance(verdict.get(key), str):
            return f"{key} must be text; it is {verdict.get(key)!r:.40}"
    warnings = verdict.get("warnings", [])
    if not isinstance(warnings, list) or not all(isinstance(w, str) for w in warnings):
        return "warnings must be a list of sentences"
    return None


@dataclass(frozen=True)
class Provenance:
    """What a verdict depends on besides its item.

    Attributes:
        model: the checksum of the model's weights; see `checksum`.
        options: every option that can change a verdict, by name. An option that is None
            or an empty mapping is left out.
        version: the version of this package.
    """

    model: str
    options: Mapping[str, Any]
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return the provenance as a verdict's line has it, without the date."""
        options = {k: v for k, v in sorted(self.options.items()) if v not in (None, {})}
        facts = {"schema": SCHEMA, "version": self.version, "model": self.model}
        return json.loads(json.dumps(facts | {"options": options}, default=_named))

    def stamp(self, verdict: dict[str, Any]) -> dict[str, Any]:
        """Return a verdict with its provenance and today's date."""
        today = date.today().isoformat()
        return verdict | {"provenance": self.to_dict() | {"date": today}}


def _named(value: Any) -> str:
    """Return a function's name, or another value as text."""
    return getattr(value, "__qualname__", str(value))


def checksum(*models: Any) -> str:
    """Return the SHA-256 of the weights that models use, wherever they came from.

    It covers the names, types, shapes and values of all parameters and buffers. The weights
    of a function are unknown, so its name takes their place.
    """
    import torch  # a folder's verdicts can be read without it
    from torch import nn

    total = hashlib.sha256()
    for model in models:
        name = getattr(model, "__qualname__", type(model).__qualname__)
        total.update(f"{name}\n".encode())
        if not isinstance(model, nn.Module):
            continue
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for key, tensor in sorted(tensors.items()):
            values = tensor.detach().cpu().contiguous().reshape(-1)
            total.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
            total.update(values.view(torch.uint8).numpy().data)
    return total.hexdigest()


class Verdicts:
    """The verdicts on the items of one folder; a context manager.

    An item is identified by its name and by the SHA-256 of its content. A file that has
    changed since the last verdict on its name is judged again, even if it has become what
    it was before.

    If the last line of the file has another provenance, all verdicts in it are set aside,
    with a warning: they stay in the file, but no item has a verdict.

    Args:
        path: the file, which is created if it does not exist.
        provenance: what the verdicts depend on besides their items.

    Raises:
        FileExistsError: on entering, if another process is writing to the file.
        ValueError: on entering, if a complete line is not a verdict.
    """

    def __init__(self, path: str | Path, provenance: Provenance):
        self.path, self.provenance = Path(path), provenance
        self._all: list[dict[str, Any]] = []
        self._last: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            exclusive(self._file, self.path)
            self._read()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def __contains__(self, item: tuple[str, str]) -> bool:
        """Whether the last verdict on the item's name is on this content (SHA-256)."""
        name, digest = item
        return name in self._last and self._last[name]["sha256"] == digest

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def latest(self) -> list[dict[str, Any]]:
        """Return the last verdict on each name, in the order in which they were given."""
        return [*self._last.values()]

    def add(self, *verdicts: dict[str, Any]) -> None:
        """Append verdicts with their provenance.

        Raises:
            ValueError: if one does not follow the schema.
            OSError: if the lines cannot be written, for example because the disk is full;
                then none of them is. Also if the file has been deleted.
        """
        stamped = [self.provenance.stamp(verdict) for verdict in verdicts]
        for verdict in stamped:
            if wrong := problem(verdict):
                raise ValueError(
                    f"This is not a verdict, for {wrong}: {verdict!r:.200}"
                )
        # a file name that is not UTF-8 contains lone surrogates, which JSON escapes
        lines = "".join(json.dumps(own, ensure_ascii=False) + "\n" for own in stamped)
        line = lines.encode(errors="backslashreplace")
        size = os.lseek(self._file, 0, os.SEEK_END)
        if os.fstat(self._file).st_nlink == 0:
            raise OSError(f"{self.path} was deleted while it was being written.")
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            reason = error.strerror or error
            raise OSError(f"{self.path} cannot be written: {reason}.") from error
        for verdict in stamped:
            self._remember(verdict)

    def _remember(self, verdict: dict[str, Any]) -> None:
        self._all.append(verdict)
        self._last.pop(
            verdict["name"], None
        )  # so that the order is that of the verdicts
        self._last[verdict["name"]] = verdict

    def _read(self) -> None:
        content = self.path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            os.ftruncate(self._file, complete)
        lines = _parsed(content[:complete], self.path)
        before, now = dict[str, Any](), self.provenance.to_dict()
        self._all, self._last = [], {}
        for verdict in lines:
            if _provenance(verdict) != before:  # it sets aside all lines before it
                before = _provenance(verdict)
                self._all, self._last = [], {}
            self._remember(verdict)
        if lines and before != now:
            self._all, self._last = [], {}
            count = len({verdict["name"] for verdict in lines})
            warn_set_aside(self.path, count, _changes(before, now))


def warn_set_aside(path: Path, count: int, changes: str) -> None:
    """Warn that earlier verdicts do not count, because something has changed since."""
    said = text("solution.set_aside", path=path, count=count, changes=changes)
    warnings.warn(said, stacklevel=2)


def read_verdicts(path: str | Path) -> list[dict[str, Any]]:
    """Return all verdicts in a file, also those that were set aside.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if a complete line is not a verdict.
    """
    content = Path(path).read_bytes()
    return _parsed(content[: content.rfind(b"\n") + 1], Path(path))


def _parsed(content: bytes, path: Path) -> list[dict[str, Any]]:
    verdicts = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            verdict = json.loads(line)
            wrong = problem(verdict)
        except (ValueError, RecursionError):
            wrong = "it is not JSON"
        if wrong:
            raise ValueError(
                f"{path}: line {number} is not a verdict; move the file away, or choose "
                f"another folder ({wrong})."
            )
        verdicts.append(verdict)
    return verdicts


def _provenance(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of a verdict without the date; {} if it names none."""
    facts = verdict.get("provenance")
    facts = facts if isinstance(facts, dict) else {}
    return {key: value for key, value in facts.items() if key != "date"}


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in which facts two provenances differ, and how."""
    old, new = _facts(before), _facts(now)
    names = [name for name in new | old if old.get(name) != new.get(name)]
    if not before:  # it was written before lines named their provenance
        names = ["version"]
    return ", ".join(f"{n} ({old.get(n, '?')} → {new.get(n, '?')})" for n in names)


def _facts(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the version, the model and each option of a provenance."""
    facts = {"options": {}} | provenance
    options = facts.pop("options")
    if "model" in facts:
        facts["model"] = str(facts["model"])[:SHOWN]
    return facts | (options if isinstance(options, dict) else {})


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
