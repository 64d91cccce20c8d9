"""Reading a checkpoint in the public reference's format: config.json and safetensors."""

import dataclasses
import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import DamagedFileError
from .config import Config
from .model import LanguageModel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

LAYER = re.compile(r"model\.layers\.(\d+)")
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")
COPIES = re.compile(r"\.(embed_tokens|shared_head\.head)\.weight")
# what files of older libraries store and config.json says already
DERIVED = re.compile(r".*\.rotary_emb\.(\w*inv_freq|cos_cached|sin_cached)")
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The model in `folder`, in evaluation mode, every weight of it from the checkpoint.

    Args:
        folder: holds config.json, and model.safetensors or the shards that
            model.safetensors.index.json lists. Experts may be stacked or one by one.
        dtype: of the model's weights; the routers' are kept in float32.

    Raises:
        FileNotFoundError: for a folder without one of these files.
        DamagedFileError: for a file that is cut, weights that are missing or too many,
            and a shape or dtype that is not the model's.
        ValueError: for a model that is not built here.
    """
    folder = Path(folder)
    content = _json(folder / "config.json")
    config = Config.from_reference(content)
    weights = {}
    for path in _shards(folder):
        weights |= _read(path, config)
    found = [match for name in weights if (match := LAYER.match(name))]
    more = max((int(m[1]) + 1 for m in found), default=0) - config.num_hidden_layers
    config = dataclasses.replace(config, num_nextn_predict_layers=max(more, 0))
    with torch.device("meta"):  # no memory for weights that are about to be replaced
        model = LanguageModel(config)
    if config.tie_word_embeddings:
        _tie(weights, folder)
    _fill(model, _stacked(weights), dtype, folder)
    return model.eval()


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(f"{path} is not whole JSON: {error}") from error


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        listed = _json(index).get("weight_map", {})
        return [folder / name for name in sorted(set(listed.values()))]
    return [folder / "model.safetensors"]


def _read(path: Path, config: Config) -> dict[str, Tensor]:
    """A shard's tensors, mapped from the file, under this library's names."""
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            stored = [name for name in names if not DERIVED.fullmatch(name)]
            found = {name: file.get_tensor(name) for name in stored}
    except SafetensorError as error:
        said = f"{path} is not a whole safetensors file: {error}"
        raise DamagedFileError(said) from error
    weights = {}
    for name, tensor in found.items():
        if tensor.dtype not in DTYPES:
            raise DamagedFileError(
                f"{name} in {path.name} must be float32, bfloat16 or float16; got "
                f"{tensor.dtype}: convert the checkpoint first."
            )
        layer = LAYER.match(name)
        predicts = layer and int(layer[1]) >= config.num_hidden_layers
        if not (predicts and COPIES.search(name)):  # the model's own, stored again
            weights[name] = tensor
    return weights


def _stacked(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Experts that are stored one by one, put together as `Experts` has them."""
    alone: dict[str, dict[str, dict[int, Tensor]]] = {}
    for name in list(weights):
        if match := EXPERT.fullmatch(name):
            parts = alone.setdefault(match[1], {"gate": {}, "up": {}, "down": {}})
            parts[match[3]][int(match[2])] = weights.pop(name)
    for name, parts in alone.items():
        wanted = range(len(parts["down"]))
        if any(sorted(part) != [*wanted] for part in parts.values()):
            found = {kind: sorted(part) for kind, part in parts.items()}
            raise DamagedFileError(f"{name} must be of {wanted}; got {found}.")
        gate, up, down = ([part[i] for i in sorted(part)] for part in parts.values())
        both = [torch.cat(pair) for pair in zip(gate, up, strict=True)]
        weights[f"{name}.gate_up_proj"] = torch.stack(both)
        weights[f"{name}.down_proj"] = torch.stack(down)
    return weights


def _tie(weights: dict[str, Tensor], folder: Path) -> None:
    """The head's weight, which files of tied models mostly leave out."""
    embedding = weights.get(EMBEDDING, weights.get(HEAD))
    if embedding is None:
        return  # and `_fill` names what is missing
    weights.setdefault(EMBEDDING, embedding)
    if not torch.equal(weights.setdefault(HEAD, embedding), embedding):
        raise DamagedFileError(
            f"{HEAD} in {folder} must equal {EMBEDDING} by config.json "
            f"(tie_word_embeddings is true); got another."
        )


def _fill(model: LanguageModel, weights: dict, dtype, folder: Path) -> None:
    wanted = model.state_dict()
    for what, names in (
        ("lacks", wanted.keys() - weights.keys()),
        ("has unknown", weights.keys() - wanted.keys()),
    ):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise DamagedFileError(f"{folder} {what} weights ({len(names)}): {some}.")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise DamagedFileError(
                f"{name} in {folder} must be {list(wanted[name].shape)} by config.json; "
                f"got {list(tensor.shape)}."
            )
        weights[name] = tensor.to(torch.float32 if ".gate." in name else dtype)
    model.load_state_dict(weights, assign=True)
    model.tie()  # the assignment has made two parameters of one
