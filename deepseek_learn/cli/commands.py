"""The `deepseek-learn` commands, each of which calls one public function."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DeepSeekLearnError
from ..escaping import printable_lines
from .author import author
from .certificate import certificate
from .federated import federated
from .solve import solve
from .submit import submit
from .talk import chat

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(author, name="author")
app.add_typer(certificate, name="certificate")
app.add_typer(federated, name="federated")
app.add_typer(solve, name="solve")
app.add_typer(submit, name="submit")
app.command()(chat)


@app.command()
def doctor() -> None:
    """Show what is installed, which extras are missing, and how to install them."""
    from .doctor import examine

    for line in examine():
        typer.echo(line)


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="server port")] = 8888,
    browser: Annotated[str, typer.Option(help="browser name, or none")] = "",
    work: Annotated[str, typer.Option(help="folder of your working copy")] = "",
) -> None:
    """Copy new lessons into your working copy, and open its start page in JupyterLab."""
    from .lab import open_lab

    open_lab(port, browser, work)


@app.command("zoo")
def show_zoo(name: Annotated[str, typer.Argument()] = "") -> None:
    """List the models in the zoo, or show the card of one model."""
    from .. import zoo

    if not name:
        typer.echo("\n".join(zoo.list()))
        return
    frame = zoo.card(name).to_frame()
    typer.echo(frame.columns[0])
    for fact, value in frame.iloc[:, 0].items():
        typer.echo(f"  {fact}: {value}")


@app.command("data")
def show_data(name: Annotated[str, typer.Argument()] = "") -> None:
    """List the datasets, or show the card and splits of one dataset."""
    from .. import data

    if not name:
        typer.echo("\n".join(data.names()))
        return
    splits = data.load(name)
    typer.echo(splits.card.to_frame().to_string(header=False))
    typer.echo(splits.to_frame().to_string())


@app.command()
def profile(
    what: Annotated[str, typer.Argument(help="zoo:NAME or module:callable")],
    shape: Annotated[str, typer.Option(help="input shape, such as 1,3,224,224")] = "",
    train: Annotated[bool, typer.Option(help="profile a training step")] = False,
    by: Annotated[str, typer.Option(help="layer or operator")] = "layer",
    html: Annotated[Path | None, typer.Option(help="write an HTML page here")] = None,
) -> None:
    """Measure a model's computation, data movement, memory use and run time.

    `module:callable` must return a model, or a model and an example input.
    """
    from ..profiler import profile as run
    from ..profiler.tables import check_by
    from .named_models import model_and_example

    check_by(by)  # fail now rather than after a minute of profiling
    if html and html.is_dir():
        raise ValueError(f"html must be the path of a file; got the folder {html}.")
    model, example = model_and_example(what, shape)
    try:
        result = run(model, example, train=train)
    except (DeepSeekLearnError, ValueError):
        raise
    except Exception as error:  # a model may raise any error for its input
        source = f"an input of shape {shape}" if shape else "its example"
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DeepSeekLearnError(f"{what} does not run on {source}: {first}") from error
    typer.echo(
        result.to_frame(by, inclusive=True).to_string(float_format="{:.4g}".format)
    )
    if len(result.uncounted):
        typer.echo(result.uncounted.to_string())
    typer.echo("\n".join([result.why(), *map(str, result.verdicts()[1:])]))
    if html:
        typer.echo(result.save(html))


@app.command()
def deploy(
    what: Annotated[
        str, typer.Argument(help="zoo:NAME, module:callable or an .onnx file")
    ],
    target: Annotated[str, typer.Option(help="such as cpp-cpu or nvidia-a100")],
    out: Annotated[Path, typer.Option(help="a new or empty folder")],
    precision: Annotated[str | None, typer.Option(help="int8, fp16, ...")] = None,
    loss: Annotated[float, typer.Option(help="maximum INT8 loss in points")] = 0.1,
    ranges: Annotated[str, typer.Option(help="minmax, percentile or mse")] = "minmax",
    batch: Annotated[int, typer.Option(help="batch size")] = 1,
    overwrite: Annotated[
        bool, typer.Option(help="replace an existing deployment")
    ] = False,
    shape: Annotated[str, typer.Option(help="input shape, such as 1,3,224,224")] = "",
) -> None:
    """Write a folder for running a model on a target, and report the measurements.

    `module:callable` must return a model, an example input, calibration batches and a
    metric. The first two are enough for every precision except int8.
    """
    from ..deploy import DeploymentWizard
    from .named_models import deployable

    deployment = DeploymentWizard(*deployable(what, shape)).to(
        target,
        out,
        precision=precision,
        loss=loss,
        ranges=ranges,
        batch=batch,
        overwrite=overwrite,
        progress=sys.stderr.isatty(),
    )
    words = "\n".join([*map(str, deployment.lines), deployment.why()])
    typer.echo(printable_lines(words))  # it may name a stranger's layers


@app.command()
def ledger(
    claim: Annotated[str, typer.Argument(help="a claim, such as C6")] = "",
    missed: Annotated[bool, typer.Option(help="only what missed its target")] = False,
    details: Annotated[
        bool, typer.Option(help="also what was measured without a target")
    ] = False,
) -> None:
    """Show all claims in the guide with their verdicts, or one claim's figures."""
    from ..course import ledger as read
    from ..ledger.terminal import show

    show(read(), claim, missed, details)


@app.command()
def progress(
    lesson: Annotated[str | None, typer.Argument(help="only this lesson")] = None,
    export: Annotated[Path | None, typer.Option(help="export to this file")] = None,
    merge: Annotated[
        Path | None, typer.Option("--import", help="add the records in this file")
    ] = None,
) -> None:
    """Show your progress in the exercises, or transfer it between computers."""
    from ..course import progress as show

    typer.echo(show(lesson, export=export, import_=merge))
