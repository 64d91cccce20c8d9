"""One run for all solutions, and the shape that they share.

    read -> digest -> skip what is done -> judge or refuse -> append the verdict -> page

A solution is a frozen dataclass whose fields are its options. It says what there is to
judge (`sources`, `items`), what it knows (`learn`), what it makes of an item (`judge`) and
what the user gets (`report`); `run` does the rest. All fields are part of each verdict's
provenance, except for those in `DISPLAY`: no verdict outlives a change of an option.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from ..bar import Bar
from ..catalog import text
from ..errors import UnknownNameError
from ..registry import Registry
from .page import PAGE, VerdictReport, is_replaceable
from .verdicts import LOG, Provenance, RefusedError, Verdicts, checksum, sha256

UNREAD = "0" * 64  # in place of the SHA-256 of what could not be read


@dataclass(frozen=True)
class Item:
    """Something that gets one verdict: a part, a scan, a turbine, a recording, a text.

    Attributes:
        name: its name, unique in a folder.
        sha256: of all that its verdict is based on.
        content: what `IndustrySolution.read` takes; or the error for which it is refused.
        prediction: what `IndustrySolution.predict` returned for it.
    """

    name: str
    sha256: str
    content: Any = None
    prediction: Any = None


@dataclass(frozen=True, kw_only=True)
class IndustrySolution(ABC):
    """A complete solution: it reads a folder and writes a folder.

    The output folder always contains `index.html`, and `verdicts.jsonl` with one line per
    item (`solutions.verdicts` describes its schema). A run that was interrupted continues
    where it stopped.

    Attributes:
        name: the name under which it is registered, with which its messages begin.
        DISPLAY: the options that change the page, but no verdict.
        BATCH: how many items `predict` gets at once, at most.

    >>> from deepseek_learn import solutions
    >>> wind: solutions.IndustrySolution = solutions.load("wind")
    >>> callable(wind.run)
    True
    """

    name: ClassVar[str]
    DISPLAY: ClassVar[frozenset[str]] = frozenset()
    BATCH: ClassVar[int] = 1

    # --- what a solution says of itself

    @abstractmethod
    def sources(self, folder: Path, out: Path) -> Sequence[Any]:
        """Return what there is to judge, before anything is learned: files, for example.

        Raises:
            FileNotFoundError, ValueError: if there is nothing, or an option is wrong.
        """

    @abstractmethod
    def learn(self, folder: Path, progress: bool) -> Any:
        """Return a model: learned from the user's files, or from the zoo."""

    @abstractmethod
    def items(self, source: Any, model: Any) -> Iterable[Item]:
        """Yield the items of a source."""

    def read(self, item: Item) -> Any:
        """Return the content of an item that has no verdict yet.

        Raises:
            RefusedError: if it cannot be judged.
        """
        return item.content

    def predict(self, items: Sequence[Item], model: Any) -> Sequence[Any]:
        """Return what a network says of several items, which is faster at once."""
        return [None] * len(items)

    @abstractmethod
    def judge(self, item: Item, model: Any, out: Path) -> dict[str, Any]:
        """Return the verdict on an item, and write its pictures to `out`.

        Raises:
            RefusedError: if it cannot be judged.
        """

    @abstractmethod
    def report(self, verdicts: list[dict[str, Any]], model: Any) -> VerdictReport:
        """Return the report on the last verdict of each item."""

    def weights(self, model: Any) -> str:
        """Return the checksum of the model's weights."""
        return checksum(model)

    def learned(self, model: Any) -> dict[str, Any]:
        """Return what else a verdict depends on, such as a threshold.

        A value takes the place of the option of the same name.
        """
        return {}

    def resume(self, model: Any, verdicts: Verdicts) -> Any:
        """Return the model as it was after the earlier verdicts."""
        return model

    # --- what all solutions do

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        **options: Any,
    ) -> VerdictReport:
        """Judge all items in `input` and write the results to `out`.

        Args:
            input: a folder, or a single file where the solution reads such.
            out: the folder for the verdicts, the pictures and the page.
            options: the fields of this solution; see its class.

        Raises:
            UnknownNameError: if there is no such option.
            FileNotFoundError: if the input does not exist, or contains nothing to judge.
            FileExistsError: if another run is writing to `out`; see also `places`.
            ValueError: if an option has a wrong value, or an earlier line is no verdict.
            RefusedError: if what it learns from cannot be used.
        """
        solution = self.with_options(**options)
        folder, out = places(input, out)
        sources = solution.sources(folder, out)
        model = solution.learn(folder, progress)
        return solution.judge_all(sources, model, out, progress)

    def with_options(self, **options: Any) -> Self:
        """Return this solution with other options.

        Raises:
            UnknownNameError: if there is no such option.
        """
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                kind = f"option of the solution {self.name!r}"
                raise UnknownNameError(kind, name, known)
        return replace(self, **options)

    def judge_all(
        self, sources: Sequence[Any], model: Any, out: Path, progress: bool = True
    ) -> VerdictReport:
        """Judge the items of all sources that have no verdict yet, and report on all."""
        names: set[str] = set()
        with Verdicts(out / LOG, self.provenance(model)) as verdicts:
            model = self.resume(model, verdicts)
            with Bar(len(sources), progress, text(f"{self.name}.bar")) as bar:
                for source in sources:
                    for batch in _batches(self.items(source, model), self.BATCH):
                        names.update(item.name for item in batch)
                        new = [i for i in batch if (i.name, i.sha256) not in verdicts]
                        if new:
                            verdicts.add(*self.judged(new, model, out))
                    bar.advance(1)
            rows = [row for row in verdicts.latest() if row["name"] in names]
            report = self.report(rows, model)
            report.save(out)
        return report

    def provenance(self, model: Any) -> Provenance:
        """Return what the verdicts depend on besides their items."""
        names = [field.name for field in fields(self)]
        options = {n: getattr(self, n) for n in names if n not in self.DISPLAY}
        return Provenance(self.weights(model), options | self.learned(model))

    def judged(
        self, items: Sequence[Item], model: Any, out: Path
    ) -> Iterator[dict[str, Any]]:
        """Yield the line of each item, without its provenance."""
        contents = [self._content(item) for item in items]
        ready = [
            replace(item, content=content)
            for item, content in zip(items, contents, strict=True)
            if not isinstance(content, RefusedError)
        ]
        predictions = iter(self.predict(ready, model) if ready else ())
        following = iter(ready)
        for item, content in zip(items, contents, strict=True):
            line = {"name": item.name, "sha256": item.sha256}
            try:
                if isinstance(content, RefusedError):
                    raise content
                item = replace(next(following), prediction=next(predictions))
                yield line | self.judge(item, model, out)
            except RefusedError as error:
                yield line | error.to_dict()

    def _content(self, item: Item) -> Any:
        """Return what `read` returns, or the error for which the item is refused."""
        if isinstance(item.content, RefusedError):
            return item.content
        try:
            return self.read(item)
        except RefusedError as error:
            return error


solutions: Registry[type[IndustrySolution]] = Registry("solution")


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def named(paths: Iterable[Path], folder: Path) -> list[tuple[str, Path]]:
    """Return files with their names relative to a folder, which may be the file itself."""
    root = folder.parent if folder.is_file() else folder
    return [(str(path.relative_to(root)), path) for path in paths]


def file_item(
    name: str, path: Path, error: type[RefusedError], largest: int | None = None
) -> Iterator[Item]:
    """Yield the item of a file: (its path, its content). Nothing if it has been removed.

    Args:
        error: the type of the refusal of a file that cannot be read.
        largest: the size in bytes above which a file is refused.
    """
    try:
        if largest is not None and path.stat().st_size > largest:
            reason = f"{path.name!r} has more than {largest >> 30} GiB."
            yield Item(name, UNREAD, error(reason))
            return
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as cause:
        reason = f"{path.name!r} cannot be read: {cause.strerror}."
        yield Item(name, UNREAD, error(reason))
        return
    yield Item(name, sha256(content), (path, content))


def places(input: str | Path, out: str | Path) -> tuple[Path, Path]:
    """Return the input and the output of a run, checked before anything is computed.

    Raises:
        ValueError: if one of them is not a path, or empty.
        FileNotFoundError: if the input does not exist.
        FileExistsError: if the output is in a file's place, or is a folder with an
            `index.html` that no solution wrote.
    """
    for name, path in (("input", input), ("out", out)):
        if not isinstance(path, str | Path) or not str(path):
            raise ValueError(text("solution.no_path", name=name, path=repr(path)))
    input, out = Path(input), Path(out)
    if not input.exists():
        raise FileNotFoundError(text("solution.missing", path=input))
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise FileExistsError(text("solution.out_is_file", out=out, file=nearest))
    if not is_replaceable(out / PAGE):
        raise FileExistsError(text("solution.foreign_page", out=out))
    return input, out


def check_apart(folder: Path, out: Path, what: str) -> None:
    """Raise an error if the output contains the input.

    Raises:
        ValueError: if it does; `what` names the items, such as "scans".
    """
    if folder.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"out must not contain the {what}; got {str(out)!r}.")
