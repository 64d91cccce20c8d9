"""The `deepseek-learn certificate` commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..course.certificate import Certificate

certificate = typer.Typer(
    no_args_is_help=True, help="Earn a certificate, or verify one by running it again."
)
Portfolio = Annotated[Path, typer.Argument(help="the portfolio, a folder")]
TeacherKey = Annotated[
    Path | None, typer.Option(help="public key of the teacher who signed it")
]
Page = Annotated[
    Path | None,
    typer.Option(help="write the certificate as an HTML page to print", metavar="FILE"),
]


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
    teacher: TeacherKey = None,
    everything: Annotated[
        bool, typer.Option("--all", help="repeat every recorded run")
    ] = False,
    trust: Annotated[
        bool, typer.Option(help="run it even where it cannot be isolated")
    ] = False,
    page: Page = None,
) -> None:
    """Compute all that a certificate says, and run its portfolio again."""
    from ..course.certificate import verify as run

    _write_page(run(portfolio, teacher, everything, trust, typer.echo), page)


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
    teacher: TeacherKey = None,
    page: Page = None,
) -> None:
    """Show what a certificate says, computed from its portfolio; runs nothing."""
    from ..course.certificate import check_without_running
    from ..course.certificate.contents import read

    shown = check_without_running(read(portfolio), teacher, lambda sentence: None)
    typer.echo("\n".join(shown.lines()))
    _write_page(shown, page)


@certificate.command()
def key(path: Annotated[Path, typer.Argument(help="a new file")]) -> None:
    """Create a teacher's key; its public part is written to PATH.pub."""
    from ..course.certificate import create_key

    create_key(path)
    typer.echo(f"{path}\n{path}.pub")


def _write_page(shown: "Certificate", path: Path | None) -> None:
    """Write the page of a verified certificate, which does not trust the portfolio's."""
    if path is not None:
        from ..course.certificate.page import page
        from ..files import atomic_write

        with atomic_write(path) as temporary:
            temporary.write_bytes(page(shown))
        typer.echo(path)
