"""A progress bar that costs nothing when it is turned off."""

from collections.abc import Callable
from typing import Any

from .rng import isolate_rng


class Bar:
    """A context manager that shows a rich progress bar and removes it on exit.

    Args:
        total: the number of steps.
        show: whether to show the bar. If False, rich is not imported.
        label: the text in front of the bar.
    """

    def __init__(self, total: int, show: bool, label: str):
        self.total, self.show, self.label = total, show, label

    def __enter__(self) -> "Bar":
        if self.show:
            with isolate_rng():  # the first import of rich draws random numbers
                from rich.progress import Progress

            self.progress = Progress(transient=True).__enter__()
            self.task = self.progress.add_task(self.label, total=self.total)
        return self

    def advance(self, steps: float) -> None:
        if self.show:
            self.progress.advance(self.task, steps)

    def section(self, width: float) -> Callable[[float], None]:
        """Return a function that advances the bar by up to `width` steps.

        It takes the completed fraction of a task, 0..1.
        """
        previous = 0.0

        def advance(fraction: float) -> None:
            nonlocal previous
            self.advance(width * (fraction - previous))
            previous = fraction

        return advance

    def __exit__(self, *error: Any) -> None:
        if self.show:
            self.progress.__exit__(*error)
