"""The `deepseek-learn author` commands, which are intended for course authors."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DeepSeekLearnError
from ..escaping import printable_lines
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
def path() -> None:
    """Update what follows from lessons.toml: contents, links, syllabus, exercises."""
    from ..course.authoring import exercises
    from ..course.authoring.path import write

    root = _root()
    _list([*write(root), *exercises.generate(root)])


@author.command()
def assignment(
    out: Path, stage: str = "basic", lesson: str | None = None, lang: str = "en"
) -> None:
    """Write the nbgrader assignments for a stage to the folder OUT."""
    from ..course.authoring.classroom import assignment as write

    _list(write(out, stage, lesson, lang))


@author.command()
def grade(
    folder: Annotated[Path, typer.Argument(help="one folder per student")],
    out: Annotated[Path, typer.Option(help="the folder of the report")],
    lesson: Annotated[str | None, typer.Option(help="only this lesson's")] = None,
    seed: Annotated[int | None, typer.Option(help="repeat an earlier run")] = None,
    jobs: Annotated[int, typer.Option(help="answers at a time", min=1)] = 1,
    trust: Annotated[bool, typer.Option(help="grade without isolation")] = False,
) -> None:
    """Grade submissions in sandboxes; write a page and two tables to OUT."""
    from ..course.authoring.grading import grade as run

    run(folder, out, lesson, seed, jobs, trust, say=typer.echo)
    typer.echo(out / "index.html")


@author.command(context_settings={"ignore_unknown_options": True})
def sandbox(
    folder: Annotated[Path, typer.Argument(help="the only folder it may write to")],
    command: Annotated[list[str], typer.Argument(help="the program and its arguments")],
    minutes: Annotated[float, typer.Option(help="time limit")] = 60,
    memory: Annotated[int, typer.Option(help="MiB of each process")] = 8192,
    trust: Annotated[bool, typer.Option(help="run it without isolation")] = False,
) -> None:
    """Run any command, such as a student's program, without network in FOLDER."""
    from ..sandbox import Sandbox, isolation

    if isolation() != "namespaces" and not trust:
        raise DeepSeekLearnError(
            "this system permits no namespaces, so the command would not be isolated; "
            "pass --trust to run it all the same."
        )
    ended = Sandbox(folder, 60 * minutes, memory, processes=256).run(command)
    typer.echo(printable_lines(ended.stdout), nl=False)
    typer.echo(printable_lines(ended.stderr + ended.reason), err=True)
    raise typer.Exit(1 if ended.reason else ended.returncode)


@author.command()
def anki(
    out: Annotated[Path, typer.Option(help="the file to write, *.apkg")],
) -> None:
    """Write an Anki deck of the glossary and the quizzes, in both languages."""
    from ..course.authoring.anki import write

    typer.echo(f"{write(out, _root())} notes in {out}")


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
    from ..course.authoring import exercises, find_it, links, path, translate

    root = _root()
    stale = [str(file) for file in exercises.generate(root, check=True)]
    stale += [str(file) for file in path.write(root, check=True)]
    stale += [str(file) for file in links.write(root, check=True)]
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
