"""The `deepseek-learn federated` commands: several hospitals train one model together."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require

federated = typer.Typer(
    no_args_is_help=True,
    help="Train one model in several hospitals; no patient's data leave.",
)


@federated.command()
def simulate(
    out: Annotated[Path, typer.Option(help="folder for the model and the record")],
    hospital: Annotated[
        list[str] | None,
        typer.Option(help="a hospital; default: north, harbor, valley"),
    ] = None,
    rounds: Annotated[int, typer.Option(help="rounds of training")] = 6,
) -> None:
    """Train in this process with the package's hospitals; an interrupted run continues."""
    require("flwr", extra="federated", purpose="Federated training")
    from ..solutions.federated.hospitals import TRAINING
    from ..solutions.federated.local import simulate as run
    from ..solutions.federated.server import RECORD

    sites = [{"hospital": name} for name in hospital or TRAINING]
    run(sites, rounds=rounds, out=str(out))
    typer.echo(out / RECORD)


@federated.command()
def certificates(
    folder: Annotated[Path, typer.Argument(help="a new folder")],
    hosts: Annotated[list[str], typer.Argument(help="the server's names or addresses")],
) -> None:
    """Make the server's TLS certificate, and ca.pem by which hospitals recognize it."""
    require("cryptography", extra="federated", purpose="Making certificates")
    from ..solutions.federated.certificates import write_certificates

    write_certificates(folder, hosts)


@federated.command()
def ledger(
    path: Annotated[Path, typer.Argument(help="the file")],
    hospital: Annotated[
        str, typer.Argument(help="as in the node's configuration")
    ] = "",
    epsilon: Annotated[float, typer.Argument(help="the budget; 0: none")] = 0.0,
    delta: Annotated[float, typer.Option(help="of differential privacy")] = 1e-4,
    seal: Annotated[
        bool, typer.Option("--seal", help="add the checksum to an old ledger instead")
    ] = False,
) -> None:
    """Make a hospital's ledger with its privacy budget; an existing one is refused."""
    from ..solutions.federated.ledger import PrivacyLedger
    from ..solutions.federated.privacy import Budget

    if seal:
        PrivacyLedger.seal(path)
    elif not hospital:
        raise typer.BadParameter("a new ledger needs a hospital and its epsilon.")
    else:
        PrivacyLedger.create(path, hospital, Budget(epsilon, delta))


@federated.command()
def scans(
    folder: Annotated[Path, typer.Argument(help="the folder; 5 GB are written")],
) -> None:
    """Write the scans that the hospitals train a detector on, a folder per hospital."""
    from ..solutions.federated.hospitals import HOSPITALS, TRAINING, make_scans

    for name in TRAINING:
        typer.echo(make_scans(HOSPITALS[name], folder))


@federated.command()
def app() -> None:
    """Print the folder of the Flower app, for `flwr run`."""
    from ..solutions import federated as package

    typer.echo(Path(package.__path__[0]) / "flower_app")
