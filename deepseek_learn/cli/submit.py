"""The `deepseek-learn submit` commands: check an entry of the leaderboard and race it."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

submit = typer.Typer(
    no_args_is_help=True,
    help="Check an entry of the leaderboard, race it, and list what was measured.",
)

Track = Annotated[
    str, typer.Argument(help="grouping, attention, update_rules or samplers")
]


@submit.command()
def check(
    file: Annotated[Path, typer.Argument(help="the entry's Python file")],
    track: Annotated[
        str, typer.Option(help="the entry's track; default: the name of its folder")
    ] = "",
) -> None:
    """Run a file in a sandbox on one fresh seed, and say what is wrong with it."""
    from ..leaderboard import check as run

    typer.echo(run(file, track or None))


@submit.command("list")
def show(track: Annotated[str, typer.Argument()] = "") -> None:
    """Show the table of one track, or of all."""
    from ..leaderboard.racing import FOLDER
    from ..leaderboard.track import NAMES

    for name in [track] if track else NAMES:
        _table(name, FOLDER)


@submit.command()
def field(track: Track) -> None:
    """Race all pending entries of a track; an interrupted race goes on."""
    from ..leaderboard import run_field

    records = run_field(track, say=typer.echo)
    typer.echo(f"{track}: {len(records)} new record(s).")


@submit.command()
def pending() -> None:
    """List the entries that have no record of their present code."""
    from ..leaderboard import pending as find
    from ..leaderboard.track import NAMES

    lines = [f"{name}/{entry.name}" for name in NAMES for entry in find(name)]
    typer.echo("\n".join(lines) or "Nothing is pending.")


@submit.command()
def rerun(
    track: Annotated[str, typer.Argument()] = "",
    entry: Annotated[
        list[str] | None, typer.Argument(help="entries; default: the better ones, once")
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            help="judge a pull request that is based on this commit: believe only the "
            "records of the commit, and write none"
        ),
    ] = "",
) -> None:
    """Race pending entries, and confirm those listed as better, on fresh seeds."""
    from ..errors import DeepSeekLearnError
    from ..leaderboard import run_again, run_field
    from ..leaderboard.proposal import brings_records, proposal
    from ..leaderboard.racing import FOLDER
    from ..leaderboard.track import NAMES

    with proposal(since, FOLDER) if since else nullcontext(FOLDER) as folder:
        for name in [track] if track else NAMES:
            new = [] if entry else run_field(name, folder, typer.echo)
            but = [each.entry for each in new]
            again = run_again(name, entry or (), but, folder, typer.echo)
            typer.echo(f"{name}: {len(new)} new record(s), {len(again)} re-run(s).")
            if since and (new or again):
                _table(name, folder)
    if since and (brought := brings_records(since, FOLDER)):
        raise DeepSeekLearnError(
            f"the records of {', '.join(brought)} are not those of {since}, and were "
            f"ignored: leave records.jsonl as it was, since CI writes it after the merge."
        )


def _table(name: str, folder: Path) -> None:
    from ..leaderboard.board import rows

    header, *body = rows(name, folder=folder)
    typer.echo(f"{name}: {header[1]}")
    for title, score, effect, wins, listed, checked in body:
        cells = filter(None, (score, effect, wins, listed.replace("*", ""), checked))
        typer.echo(f"  {title}: {', '.join(cells)}")
