"""The `deepseek-learn solve` commands: one per solution, each with its own options."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

solve = typer.Typer(
    no_args_is_help=True,
    help="Run the solution for an industry on a folder; an interrupted run continues.",
)


@solve.command()
def factory(
    folder: Annotated[Path, typer.Argument(help="the images, good parts in good/")],
    out: Annotated[Path, typer.Option(help="folder for verdicts, overlays and a page")],
    rate: Annotated[float, typer.Option(help="acceptable rate of false alarms")] = 0.05,
) -> None:
    """Find defective parts after seeing good ones only."""
    _run("factory", folder, out, rate=rate)


@solve.command()
def nodules(
    folder: Annotated[Path, typer.Argument(help="DICOM series, or .mhd files")],
    out: Annotated[Path, typer.Option(help="folder for findings, pictures and a page")],
    rate: Annotated[float, typer.Option(help="false findings per scan")] = 0.8,
    gaps: Annotated[str, typer.Option(help="refuse or interpolate")] = "refuse",
    tilt: Annotated[str, typer.Option(help="refuse or resample")] = "refuse",
) -> None:
    """Find lung nodules in CT scans. Not for diagnosis."""
    _run("nodules", folder, out, rate=rate, gaps=gaps, tilt=tilt)


def _run(name: str, folder: Path, out: Path, **options: Any) -> None:
    from .. import solutions

    solution = solutions.load(name)
    result = solution.run(folder, out, progress=sys.stderr.isatty(), **options)
    typer.echo(f"{result.why()}\n{out / 'index.html'}")
