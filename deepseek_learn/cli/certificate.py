"""The `deepseek-learn certificate` commands."""

from pathlib import Path
from typing import Annotated

import typer

certificate = typer.Typer(
    no_args_is_help=True, help="Earn a certificate, or verify one by running it again."
)
Portfolio = Annotated[Path, typer.Argument(help="the portfolio, a folder")]


@certificate.command()
def start(
    portfolio: Portfolio,
    name: Annotated[str, typer.Option(help="your name, as on the certificate")],
    projects: Annotated[str, typer.Option(help="three or more tasks, with commas")],
    lang: Annotated[str, typer.Option(help="en or zh")] = "en",
) -> None:
    """Write the skeleton of a portfolio, for you to fill in."""
    from ..course.certificate import start as write

    chosen = [task.strip() for task in projects.split(",") if task.strip()]
    for path in write(portfolio, name, chosen, lang):
        typer.echo(path)


@certificate.command()
def make(portfolio: Portfolio) -> None:
    """Run all projects and answers, and write the certificate."""
    from ..course.certificate import make as run

    typer.echo("\n".join(run(portfolio, typer.echo).lines()))


@certificate.command()
def verify(
    portfolio: Portfolio,
    teacher: Annotated[
        Path | None, typer.Option(help="public key of the teacher who signed it")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="repeat every recorded run")
    ] = False,
    trust: Annotated[
        bool, typer.Option(help="run it even where it cannot be isolated")
    ] = False,
) -> None:
    """Compute all that a certificate says, and run its portfolio again."""
    from ..course.certificate import verify as run

    run(portfolio, teacher, everything, trust, typer.echo)


@certificate.command()
def sign(
    portfolio: Portfolio,
    key: Annotated[Path, typer.Option(help="the teacher's private key")],
    name: Annotated[str, typer.Option(help="the teacher's name")],
) -> None:
    """Issue a verified certificate under a teacher's key; runs nothing."""
    from ..course.certificate import sign as issue

    issue(portfolio, key, name, typer.echo)


@certificate.command()
def show(
    portfolio: Portfolio,
    teacher: Annotated[
        Path | None, typer.Option(help="public key of the teacher who signed it")
    ] = None,
) -> None:
    """Show what a certificate says, computed from its portfolio; runs nothing."""
    from ..course.certificate import check_without_running
    from ..course.certificate.contents import read

    shown = check_without_running(read(portfolio), teacher, lambda sentence: None)
    typer.echo("\n".join(shown.lines()))


@certificate.command()
def key(path: Annotated[Path, typer.Argument(help="a new file")]) -> None:
    """Create a teacher's key; its public part is written to PATH.pub."""
    from ..course.certificate import create_key

    create_key(path)
    typer.echo(f"{path}\n{path}.pub")
