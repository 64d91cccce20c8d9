"""Store weights as safetensors files, with a checksum and a training record."""

import argparse
import hashlib
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from .. import __version__
from ..errors import DamagedFileError
from ..files import atomic_write

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ..training import Fit

WEIGHTS = Path(__file__).parent / "weights"
RECORDED = {"sha256", "date", "torch", "epochs", "cpu_minutes", "settings", "metrics"}
RUNS = Path("zoo_runs")  # the output folder of training scripts, in the current folder
# large weights that the wheel leaves out (pyproject.toml), and what it has instead
LEFT_OUT = {
    "efficientnet_lite0_dpg": "efficientnet_lite0",
    "mail_reader": "mail_reader_dpg",
    "review_reader": "review_reader_dpg",
}


def options(about: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every training script.

    Args:
        about: the docstring of the script, whose first line is its description.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--ship", action="store_true", help="copy it into the package")
    return parser


def save(name: str, model: nn.Module, folder: Path) -> Path:
    """Save the weights of a model, with matrices and kernels in half precision.

    Biases and batch statistics are stored in single precision. They take up little
    space, and a variance could underflow in half precision.
    """
    tensors = {
        key: (value.half() if value.dim() > 1 else value).detach().contiguous()
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path = folder / f"{name}.safetensors"
    with atomic_write(path) as temporary:
        save_file(tensors, temporary)
    return path


def save_tokenizer(name: str, tokenizer: "Tokenizer", folder: Path) -> Path:
    """Save a reader's tokenizer next to its weights."""
    path = folder / f"{name}_tokenizer.json"
    with atomic_write(path) as temporary:
        temporary.write_text(tokenizer.to_str(), encoding="utf-8")
    return path


def load_into(model: nn.Module, path: Path, sha256: str | None = None) -> nn.Module:
    """Load weights into `model` in place, and keep the model in single precision.

    Raises:
        DamagedFileError: if the file is missing, has the wrong checksum or does not fit
            the model. In this case, the model is not changed.
    """
    check_weights(path, sha256)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(
            f"weights file {path} is not a valid safetensors file ({error}); reinstall "
            f"the package."
        ) from error
    state = model.state_dict()
    names = {k for k in state if not k.endswith("num_batches_tracked")}
    fits = tensors.keys() == names and all(
        tensors[k].shape == state[k].shape for k in names
    )
    if not fits:
        raise DamagedFileError(
            f"weights file {path} does not fit this model: the names or shapes of the "
            f"tensors differ."
        )
    with torch.no_grad():
        for key in names:
            state[key].copy_(tensors[key])
    return model


def check_weights(path: Path, sha256: str | None) -> None:
    """Raise `DamagedFileError` if a file is missing or has the wrong checksum."""
    if not path.exists():
        if path.stem in LEFT_OUT:
            raise DamagedFileError(
                f"the weights of {path.stem} are in the project's repository only; the "
                f"package has those of its sibling, {LEFT_OUT[path.stem]}."
            )
        raise DamagedFileError(
            f"weights file {path} is missing; reinstall the package."
        )
    if sha256 and checksum(path) != sha256:
        raise DamagedFileError(
            f"weights file {path} does not have the checksum on its card "
            f"({sha256[:12]}...), so it is damaged; reinstall the package."
        )


def checksum(path: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(
    name: str,
    folder: Path,
    split: str,
    metrics: dict,
    run: "Fit | float",
    settings: dict,
) -> Path:
    """Write the record of a run next to its weights in `folder`.

    Args:
        run: the training run, or the CPU time of a compression in seconds.
        settings: the other settings needed to reproduce the run, such as the seed and
            the batch size.
    """
    training: dict[str, Any] = {"epochs": 0}
    if not isinstance(run, float):
        training = {"epochs": len(run.history), "best_epoch": run.best_epoch}
        training["stopped"] = run.stop_reason
    seconds = run if isinstance(run, float) else run.cpu_seconds
    facts = {
        "sha256": checksum(folder / f"{name}.safetensors"),
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
        "deepseek_learn": __version__,
        **training,
        "cpu_minutes": round(seconds / 60, 1),
        "settings": settings,
        "metrics": metrics,
    }
    return _write_runs(folder / f"{name}.json", {split: facts})


def read_runs(path: Path) -> dict[str, Any]:
    """Read a file written by `record`, which maps each split to its training run.

    Raises:
        DamagedFileError: if the file is missing or is not a training record.
    """
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        if not (runs and all(run.keys() >= RECORDED for run in runs.values())):
            raise ValueError("the record is incomplete")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"{path} is missing or is not a training record; reinstall the package."
        ) from error
    return runs


def ship(name: str, folder: Path, split: str, weights: bool) -> None:
    """Copy the record of a finished run, and optionally its weights, into the package.

    The records for other splits are kept. If `weights` is False, the weights in the
    package are not replaced, and the run appears on the card only as a result for
    another split.
    """
    runs = read_runs(folder / f"{name}.json")
    if weights:
        for ending in (".safetensors", "_tokenizer.json"):
            if (folder / f"{name}{ending}").exists():
                content = (folder / f"{name}{ending}").read_bytes()
                with atomic_write(WEIGHTS / f"{name}{ending}") as temporary:
                    temporary.write_bytes(content)
    path = WEIGHTS / f"{name}.json"
    shipped_runs = read_runs(path) if path.exists() else {}
    _write_runs(path, shipped_runs | {split: runs[split]})


def _write_runs(path: Path, runs: dict) -> Path:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    return path
