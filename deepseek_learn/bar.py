"""A progress bar that can be left out, at no cost."""


class Bar:
    """A rich progress bar over `total` steps; it goes when the block ends.

    Args:
        show: False: nothing is shown, and rich is not imported.
        label: what stands before it.
    """

    def __init__(self, total: int, show: bool, label: str):
        self.total, self.show, self.label = total, show, label

    def __enter__(self) -> "Bar":
        if self.show:
            from rich.progress import Progress

            self.progress = Progress(transient=True).__enter__()
            self.task = self.progress.add_task(self.label, total=self.total)
        return self

    def advance(self, steps: int) -> None:
        if self.show:
            self.progress.advance(self.task, steps)

    def __exit__(self, *error) -> None:
        if self.show:
            self.progress.__exit__(*error)
