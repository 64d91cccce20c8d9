"""The `deepseek-learn author` commands, which are intended for course authors."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DeepSeekLearnError
from .doctor import course_root

author = typer.Typer(no_args_is_help=True, help="Commands for course authors.")


@author.command("run")
def run_notebooks(paths: list[Path]) -> None:
    """Execute notebooks in place and save their outputs."""
    from ..course.authoring.execute import execute

    for path, cost in execute(paths):
        typer.echo(f"{cost['seconds']:4d} s  {cost['peak_mib']:5d} MiB  {path}")


@author.command()
def exercises() -> None:
    """Regenerate the exercise notebooks from the problem definitions."""
    from ..course.authoring.exercises import generate

    _list(generate(_root()))


@author.command()
def assignment(
    out: Path, stage: str = "basic", lesson: str | None = None, lang: str = "en"
) -> None:
    """Write the nbgrader assignments for a stage to the folder OUT."""
    from ..course.authoring.classroom import assignment as write

    _list(write(out, stage, lesson, lang))


@author.command()
def translate() -> None:
    """Copy the code from the English edition to the Chinese edition."""
    from ..course.authoring.translate import sync

    _list(sync(_root()))


@author.command()
def accept(
    names: Annotated[
        list[str], typer.Argument(help="text names, files with texts, or all")
    ],
) -> None:
    """Record that the translations of NAMES match the current English."""
    from ..course.authoring.lock import accept as record

    typer.echo(f"{record(_root(), names)} recorded")


@author.command()
def links() -> None:
    """Update the repository URL in every file that contains it."""
    from ..course.authoring.links import write

    _list(write(_root()))


@author.command()
def book() -> None:
    """Build the book in both languages into _build/html."""
    from ..course.authoring.book import build

    typer.echo(build(_root()))


@author.command("pdf")
def print_book() -> None:
    """Print the book in _build/html as one PDF per language, linked from its front page."""
    from ..course.authoring.pdf import make

    _list(make(_root()))


@author.command()
def check() -> None:
    """List outdated and malformed files, and exit with code 1 if there are any."""
    from ..course.authoring import exercises, find_it, links, translate

    root = _root()
    stale = [str(path) for path in exercises.generate(root, check=True)]
    stale += [str(path) for path in links.write(root, check=True)]
    stale += translate.check(root)
    stale += find_it.check(root)
    _list(stale)
    raise typer.Exit(1 if stale else 0)


def _root() -> Path:
    root = course_root()
    if root is None:
        raise DeepSeekLearnError(
            "this command must be run inside a clone of the repository."
        )
    return root


def _list(items: Iterable[object]) -> None:
    typer.echo("\n".join(map(str, items)) or "nothing to do")
