"""Report the progress of a deployment to a bar or to a function."""

from collections.abc import Callable

from ..bar import Bar
from ..catalog import text

Progress = Callable[[str, float], None]


class ProgressReporter:
    """Reports progress to a bar or a function, or does nothing."""

    def __init__(self, progress: bool | Progress):
        self.to = progress if callable(progress) else None
        self.bar = Bar(1000, progress is True, text("deploy.bar"))
        self.position = 0

    def __enter__(self) -> Progress:
        self.bar.__enter__()
        return self.tell

    def tell(self, step: str, fraction: float) -> None:
        position = int(1000 * fraction)
        self.bar.advance(position - self.position)
        self.position = position
        if self.to:
            self.to(text(f"deploy.step_{step}"), fraction)

    def __exit__(self, *error: object) -> None:
        self.bar.__exit__(*error)
