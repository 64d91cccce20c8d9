"""The `deepseek-learn solve` commands: one per solution, each with its own options."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ..escaping import printable_lines


def place(path: str) -> Path:
    """Return a path; an empty one, as from an unset variable, would be this folder."""
    if not path:
        raise typer.BadParameter("must be the path of a file or folder; got ''.")
    return Path(path)


def source(help: str) -> Any:
    """Return the argument of a command that says what is judged."""
    return typer.Argument(parser=place, metavar="FOLDER", help=help)


OUT = typer.Option(parser=place, metavar="PATH", help="folder for verdicts and a page")
Out = Annotated[Path, OUT]
solve = typer.Typer(
    no_args_is_help=True,
    help="Run the solution for an industry on a folder; an interrupted run continues.",
)


@solve.command()
def factory(
    folder: Annotated[Path, source("the images, good parts in good/")],
    out: Out,
    rate: Annotated[float, typer.Option(help="acceptable false-alarm rate")] = 0.05,
) -> None:
    """Find defective parts after seeing good ones only."""
    _run("factory", folder, out, rate=rate)


@solve.command()
def nodules(
    folder: Annotated[Path, source("DICOM series, or .mhd files")],
    out: Out,
    rate: Annotated[float, typer.Option(help="false findings per scan")] = 0.8,
    gaps: Annotated[str, typer.Option(help="refuse or interpolate")] = "refuse",
    tilt: Annotated[str, typer.Option(help="refuse or resample")] = "refuse",
) -> None:
    """Find lung nodules in CT scans. Not for diagnosis."""
    _run("nodules", folder, out, rate=rate, gaps=gaps, tilt=tilt)


@solve.command()
def movement(
    folder: Annotated[Path, source("a CSV file, or a folder of them")],
    out: Out,
    delay: Annotated[
        int | None, typer.Option(help="windows of 1.28 s to wait; default: all")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="a column's own name, as acc-x=X")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="samples per second, if there is no time")
    ] = None,
) -> None:
    """Read movements from a sensor at the waist. Not a medical device."""
    columns = _columns(column, "acc-x=X")
    _run("movement", folder, out, delay=delay, columns=columns, rate=rate)


@solve.command()
def reviews(
    folder: Annotated[Path, source("a .txt or .csv file, or a folder")],
    out: Out,
    column: Annotated[
        str | None, typer.Option(help="the column of a CSV file with the reviews")
    ] = None,
    find: Annotated[
        str | None, typer.Option(help="show the reviews nearest to these words first")
    ] = None,
    words: Annotated[
        bool, typer.Option(help="mark the deciding words (takes most of the time)")
    ] = True,
) -> None:
    """Understand Chinese reviews: positive, negative or unsure, and why."""
    _run("reviews", folder, out, column=column, find=find, words=words)


@solve.command()
def mail(
    folder: Annotated[Path, source("an .mbox or .eml file, a Maildir, or a folder")],
    out: Out,
    words: Annotated[
        bool, typer.Option(help="name the deciding words (takes most of the time)")
    ] = True,
    reference: Annotated[
        int,
        typer.Option(
            help="how many of the first emails set the share of unwanted ones"
        ),
    ] = 300,
) -> None:
    """Find unwanted emails, and say why. Nothing is deleted or moved."""
    _run("mail", folder, out, words=words, reference=reference)


@solve.command()
def wind(
    folder: Annotated[Path, source("a CSV file, or a folder of them")],
    out: Out,
    healthy_until: Annotated[str, typer.Option(help="learn from before this date")],
    column: Annotated[
        list[str] | None, typer.Option(help="a column's own name, as power=P_mean")
    ] = None,
    rated_kw: Annotated[
        float | None, typer.Option(help="a turbine's rated power")
    ] = None,
    steps: Annotated[int, typer.Option(help="training steps of each network")] = 600,
) -> None:
    """Watch the turbines of a wind farm."""
    options = {"columns": _columns(column, "power=P_mean"), "rated_kw": rated_kw}
    _run("wind", folder, out, healthy_until=healthy_until, steps=steps, **options)


def _columns(options: list[str] | None, example: str) -> dict[str, str]:
    """Return what `--column NAME=OWN` says."""
    pairs = [each.partition("=") for each in options or ()]
    bad = [name + mark + own for name, mark, own in pairs if not (name and own)]
    if bad:
        raise typer.BadParameter(f"--column must be like {example}; got {bad[0]!r}.")
    return {name: own for name, _, own in pairs}


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without the line of code that raised it."""
    typer.echo(printable_lines(str(message)), err=True)


def _run(name: str, folder: Path, out: Path, **options: Any) -> None:
    from .. import solutions

    solution = solutions.load(name)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        result = solution.run(folder, out, progress=sys.stderr.isatty(), **options)
    # it may name a stranger's file, or quote it
    typer.echo(f"{printable_lines(result.why())}\n{out / 'index.html'}")
