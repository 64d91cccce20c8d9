"""The one `main` of every benchmark script: its options, its rows, its one write."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NoReturn

from deepseek_learn.errors import MissingPackageError
from deepseek_learn.ledger import results
from deepseek_learn.ledger.rows import Row

from .all import SKIPPED
from .runs import Runs

BENCHMARKS = Path(__file__).parents[1]
RESULTS = BENCHMARKS / "results"
OURS = ("deepseek_learn", *(path.stem for path in BENCHMARKS.iterdir()))


class Skip(Exception):
    """This machine lacks what the script needs: one sentence, naming it."""


@dataclass(frozen=True)
class Script:
    """A benchmark script.

    Attributes:
        path: its `__file__`; the results bear its name.
        protocol: its docstring.
        quick: what a quick run does, in a few words.
        anew: whether it has `--anew`, to ignore finished runs. A quick run always does.
        speed: whether it has `--speed`: one more reading of the speed rows, nothing else.
        flags: further options → what they do.
        parts: what `--part` may choose; the result is written if all parts are there.
        of_the_machine: see `write_result`.
        own: whether the results are the reader's own: they always go to `results/quick/`.
        children: option → function of the words after it. The script calls itself with
            such an option to measure in a fresh process.
        environment: variables that have to be set before the interpreter starts.
    """

    path: str
    protocol: str
    quick: str
    anew: bool = False
    speed: bool = False
    flags: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    of_the_machine: bool = True
    own: bool = False
    children: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def runs(
        self, quick: bool, anew: bool = False, anywhere: bool = False, part: str = ""
    ) -> "Runs":
        """The finished runs in this script's file, or in that of one of its parts."""
        name = f"{self.name}.{part}" if part else self.name
        path = RESULTS / ("quick" if quick else "") / f"{name}.jsonl"
        return Runs(path, self.protocol, anew, anywhere)

    def main(self, measure: Callable[["Run"], Iterable[Row]]) -> None:
        """Parse the options, measure, print the rows and write them.

        Ends the process with exit code `SKIPPED` and one sentence if a package, or
        anything else for which `measure` raises `Skip`, is missing.
        """
        options = self.parser().parse_args()
        for option, work in self.children.items():
            if getattr(options, option) is not None:
                work(*getattr(options, option))
                return
        if any(os.environ.get(k) != v for k, v in self.environment.items()):
            command = [sys.executable, *sys.argv]
            os.execve(sys.executable, command, os.environ | self.environment)
        run = Run(self, options)
        try:
            rows = [_measured_here(row) for row in measure(run)]
        except (Skip, ImportError) as error:
            self._skip(error)
        for row in rows:
            print(in_words(row))
        if set(self.parts) <= set(run.parts):
            print(self.write(rows, run))

    def parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(description=self.protocol.splitlines()[0])
        flags = {"quick": self.quick}
        if self.anew:
            flags["anew"] = "ignore finished runs"
        if self.speed:
            flags["speed"] = "take one more reading of the speed rows"
        for name, words in {**flags, **self.flags}.items():
            parser.add_argument(f"--{name}", action="store_true", help=words)
        if self.parts:
            options = {"choices": self.parts, "default": [*self.parts]}
            parser.add_argument("--part", nargs="+", help="only these", **options)
        for name in self.children:
            parser.add_argument(f"--{name}", nargs="*", help=argparse.SUPPRESS)
        return parser

    def write(self, rows: Iterable[Row], run: "Run") -> Path:
        return results.write_result(
            self.name,
            rows,
            f"python benchmarks/{self.name}.py",
            "quick" if run.quick or self.own else "full",
            protocol=self.protocol,
            of_the_machine=self.of_the_machine,
            only_speed=run.speed,
        )

    def _skip(self, error: Exception) -> NoReturn:
        """End with one sentence, unless it is a module of ours that is missing."""
        if isinstance(error, Skip | MissingPackageError):
            sentence = str(error)
        else:
            package = (getattr(error, "name", None) or "").partition(".")[0]
            if not package or package in OURS:
                raise error
            sentence = f"{self.name} needs the package {package}: {error}"
        print(f"skipped: {sentence}", file=sys.stderr)
        sys.exit(SKIPPED)


class Run:
    """One run of a script: its options, and what was finished before."""

    def __init__(self, script: Script, options: argparse.Namespace):
        self.script, self.options = script, options
        self.quick: bool = options.quick
        self.speed: bool = self.has("speed")
        self.anew: bool = self.has("anew") or (self.quick and not self.speed)
        self.parts: tuple[str, ...] = tuple(getattr(options, "part", ()))

    def has(self, flag: str) -> bool:
        """Whether the script was called with a flag, which it need not know."""
        return getattr(self.options, flag, False)

    def finished_runs(self, anywhere: bool = False, part: str = "") -> Runs:
        """The finished runs that count; a quick run starts anew."""
        return self.script.runs(self.quick, self.anew, anywhere, part)


def _measured_here(row: Row) -> Row:
    """Return the row with this machine, as many threads as torch has at the moment."""
    return row.on(results.machine(), date.today().isoformat())


def in_words(row: Row) -> str:
    """A row in one line."""
    if row.measured is None:
        return f"{row.what}: untestable here ({row.note})"
    note = f" ({row.note})" if row.note else ""
    return f"{row.what}: {row.measured:.4g} {row.unit}{note}"
