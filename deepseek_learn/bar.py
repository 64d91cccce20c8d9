"""An optional progress bar that costs nothing when off."""

from typing import Any


class Bar:
    """A rich progress bar over `total` steps; it disappears when the block ends.

    Args:
        show: if False, nothing is shown and rich is not imported.
        label: the text before the bar.
    """

    def __init__(self, total: int, show: bool, label: str):
        self.total, self.show, self.label = total, show, label

    def __enter__(self) -> "Bar":
        if self.show:
            from rich.progress import Progress

            self.progress = Progress(transient=True).__enter__()
            self.task = self.progress.add_task(self.label, total=self.total)
        return self

    def advance(self, steps: float) -> None:
        if self.show:
            self.progress.advance(self.task, steps)

    def __exit__(self, *error: Any) -> None:
        if self.show:
            self.progress.__exit__(*error)
