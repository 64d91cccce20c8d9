"""Weights on disk: safetensors, a checksum, a record of the training run beside them."""

import hashlib
import json
from datetime import date
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from .. import __version__
from ..errors import DamagedFileError
from ..files import whole

WEIGHTS = Path(__file__).parent / "weights"


def save(name: str, model: nn.Module, folder: Path) -> Path:
    """Write the weights: matrices and kernels in half precision, vectors in single.

    Biases and batch statistics keep 32 bits: they are few, and a variance may be too
    small for 16.
    """
    tensors = {
        key: (value.half() if value.dim() > 1 else value).detach().contiguous()
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path = folder / f"{name}.safetensors"
    with whole(path) as temporary:
        save_file(tensors, temporary)
    return path


def load_into(model: nn.Module, path: Path, sha256: str | None = None) -> nn.Module:
    """Read weights into `model` (in place), which keeps single precision.

    Raises:
        DamagedFileError: when the file is absent, does not have the checksum, or does
            not fit the model. The model is then unchanged.
    """
    if not path.exists():
        raise DamagedFileError(
            f"weights file {path} is missing; reinstall the package."
        )
    if sha256 and checksum(path) != sha256:
        raise DamagedFileError(
            f"weights file {path} does not have the checksum on its card "
            f"({sha256[:12]}...): it is damaged; reinstall the package."
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(
            f"weights file {path} is not a whole safetensors file ({error}); reinstall "
            f"the package."
        ) from error
    own = model.state_dict()
    wanted = {k for k in own if not k.endswith("num_batches_tracked")}
    fits = tensors.keys() == wanted and all(
        tensors[k].shape == own[k].shape for k in wanted
    )
    if not fits:
        raise DamagedFileError(
            f"weights file {path} does not fit this model: other names or shapes."
        )
    with torch.no_grad():
        for key in wanted:
            own[key].copy_(tensors[key])
    return model


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(name: str, folder: Path, split: str, metrics: dict, run) -> Path:
    """Write what a training run measured beside its weights, keeping other splits'.

    Only the run on the split whose weights are shipped sets the checksum: call it with
    the weights of `split` in `folder`.
    """
    weights = folder / f"{name}.safetensors"
    path = folder / f"{name}.json"
    known = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    known["runs"][split] = {
        "sha256": checksum(weights),
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
        "deepseek_learn": __version__,
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "stopped": run.stopped,
        "cpu_minutes": round(run.cpu_seconds / 60, 1),
        "metrics": metrics,
    }
    with whole(path) as temporary:
        temporary.write_text(json.dumps(known, indent=1) + "\n")
    return path
