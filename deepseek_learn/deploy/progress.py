"""Report the progress of a deployment to a bar or to a function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..bar import Bar
from ..catalog import text

Progress = Callable[[str, float], None]


@contextmanager
def reporting(progress: bool | Progress) -> Iterator[Progress]:
    """Yield a function that reports progress to a bar or a function, or does nothing."""
    with Bar(1000, progress is True, text("deploy.bar")) as bar:
        advance = bar.section(1000)

        def tell(step: str, fraction: float) -> None:
            advance(fraction)
            if callable(progress):
                progress(text(f"deploy.step_{step}"), fraction)

        yield tell
