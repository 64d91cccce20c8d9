"""The progress bar of a search, with the size of the front and the failures so far."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ..catalog import text
from ..rng import isolate_rng
from .engine import optuna
from .study import Study


def progress_bar(trials: int | None, progress: bool) -> Any:
    """Return a context manager with a rich progress bar, or None without `progress`."""
    if not progress:
        return nullcontext()
    with isolate_rng():  # the first import of rich draws random numbers
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

    facts = TextColumn("{task.fields[facts]}")
    bar = Progress(BarColumn(), MofNCompleteColumn(), Elapsed(), facts)
    bar.add_task("", total=trials, facts="")
    return bar


def advancing(bar: Any) -> Callable:
    """Return a callback for Optuna that advances the bar after each trial."""
    finished = itertools.count(1)

    def advance(study: "optuna.Study", trial: Any) -> None:
        so_far = Study.of(study)
        front, failed = len(so_far.front), len(so_far.failures())
        facts = text("tuner.bar", front=front, failed=failed)
        bar.update(0, completed=next(finished), facts=facts)

    return advance
