"""Load checkpoints in the format of the public reference implementations.

A checkpoint is a folder with a config.json and one or more safetensors files, or a GGUF
file.
"""

import dataclasses
import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..bar import Bar
from ..catalog import text
from ..errors import DamagedFileError
from .config import REFERENCES, Config
from .families import FAMILIES, config_of, renamed
from .model import LanguageModel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

LAYER = re.compile(r"model\.layers\.(\d+)")
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")
COPIES = re.compile(r"\.(embed_tokens|shared_head\.head)\.weight")
# buffers that older libraries stored, although config.json determines their values
DERIVED = re.compile(r".*\.rotary_emb\.(\w*inv_freq|cos_cached|sin_cached)")
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def load(
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    packed: bool = False,
    *,
    progress: bool = False,
) -> LanguageModel:
    """Load the model in `folder` with all of its weights, in evaluation mode.

    The model may be one of DeepSeek (V2, V3, V3.2), Llama, Qwen2, Qwen3, Qwen3-MoE,
    Mistral, Mixtral or Gemma 3. Of a Gemma that also reads images, the part that reads
    text is loaded.

    Args:
        folder: a folder that contains config.json and either model.safetensors or the
            shards listed in model.safetensors.index.json. The experts may be stacked or
            stored separately. Or a GGUF file of Llama, Mistral, Mixtral, Qwen2, Qwen3,
            Qwen3-MoE or Gemma 3.
        dtype: the dtype of the model's weights. The routers always stay in float32.
        packed: whether to keep the weights of a GGUF file packed, as those of
            `dpg.compress`. Q4_0, Q5_0 and Q8_0 keep their codes, and their scales are
            rounded to bfloat16; other types are rounded to 8 bits. By default, all
            weights are unpacked.
        progress: whether to show a progress bar.

    Raises:
        FileNotFoundError: if one of these files is missing.
        DamagedFileError: if a file is truncated, if weights are missing or unexpected,
            if the shape of a weight does not match the model, or if a dtype is not
            supported.
        ValueError: if the model is not supported, or `packed` is True for a folder.

    >>> from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
    >>> from deepseek_learn import lm
    >>> config = DeepseekV3Config(
    ...     vocab_size=64, hidden_size=32, intermediate_size=64, moe_intermediate_size=16,
    ...     num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
    ...     n_routed_experts=8, num_experts_per_tok=2, n_group=1, topk_group=1,
    ...     q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8,
    ...     v_head_dim=8,
    ... )
    >>> DeepseekV3ForCausalLM(config).save_pretrained("saved")
    >>> lm.load("saved").config.hidden_size
    32
    """
    folder = Path(folder)
    if folder.suffix == ".gguf":
        from . import gguf

        if packed:
            return gguf.build_packed(*gguf.read(folder, packed=True, progress=progress))
        return _built(*gguf.read(folder, progress=progress), dtype, folder)
    if packed:
        raise ValueError(
            "packed must be False for a folder: compress its model with dpg.compress."
        )
    content = _json(folder / "config.json")
    config = _config(content)
    weights: dict[str, Tensor] = {}
    shards = _shards(folder)
    with Bar(len(shards), progress, text("lm.bar")) as bar:
        for path in shards:
            weights |= _read(path, config)
            bar.advance(1)
    if content["model_type"] in FAMILIES:
        weights = renamed(weights, config)
    else:
        matches = [match for name in weights if (match := LAYER.match(name))]
        blocks = max((int(m[1]) + 1 for m in matches), default=0)
        extra = max(blocks - config.num_hidden_layers, 0)
        config = dataclasses.replace(config, num_nextn_predict_layers=extra)
    return _built(config, weights, dtype, folder)


def _built(
    config: Config, weights: dict[str, Tensor], dtype: torch.dtype, folder: Path
) -> LanguageModel:
    with torch.device("meta"):  # allocate no memory, since the weights get replaced
        model = LanguageModel(config)
    if config.tie_word_embeddings:
        _tie(weights, folder)
    _fill(model, _stacked(weights), dtype, folder)
    return model.eval()


def _config(content: dict) -> Config:
    if (kind := content.get("model_type")) in FAMILIES:
        return config_of(content)
    if kind not in REFERENCES:
        known = ", ".join((*REFERENCES, *FAMILIES))
        raise ValueError(f"model_type must be one of {known}; got {kind!r}.")
    return Config.from_reference(content)


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(f"{path} is not valid JSON: {error}") from error


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        weight_map = _json(index).get("weight_map", {})
        return [folder / name for name in sorted(set(weight_map.values()))]
    return [folder / "model.safetensors"]


def _read(path: Path, config: Config) -> dict[str, Tensor]:
    """Read the tensors from one shard, memory-mapping the file.

    Derived buffers are skipped, as are the copies of the embedding and the head in
    the multi-token-prediction blocks.
    """
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            names = [name for name in names if not DERIVED.fullmatch(name)]
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        message = f"{path} is not a complete safetensors file: {error}"
        raise DamagedFileError(message) from error
    weights = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise DamagedFileError(
                f"{name} in {path.name} must be float32, bfloat16 or float16; got "
                f"{tensor.dtype}: convert the checkpoint first."
            )
        layer = LAYER.match(name)
        predicts = layer and int(layer[1]) >= config.num_hidden_layers
        if not (predicts and COPIES.search(name)):
            weights[name] = tensor
    return weights


def _stacked(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack experts that are stored separately into the layout of `Experts`."""
    separate: dict[str, dict[str, dict[int, Tensor]]] = {}
    for name in list(weights):
        if match := EXPERT.fullmatch(name):
            parts = separate.setdefault(match[1], {"gate": {}, "up": {}, "down": {}})
            parts[match[3]][int(match[2])] = weights.pop(name)
    for name, parts in separate.items():
        indices = range(len(parts["down"]))
        if any(sorted(part) != [*indices] for part in parts.values()):
            got = {kind: sorted(part) for kind, part in parts.items()}
            raise DamagedFileError(f"{name} must have indices {indices}; got {got}.")
        gate, up, down = ([part[i] for i in sorted(part)] for part in parts.values())
        gate_up = [torch.cat(pair) for pair in zip(gate, up, strict=True)]  # [2f, d]
        weights[f"{name}.gate_up_proj"] = torch.stack(gate_up)  # [E, 2f, d]
        weights[f"{name}.down_proj"] = torch.stack(down)  # [E, d, f]
    return weights


def _tie(weights: dict[str, Tensor], folder: Path) -> None:
    """Fill in the head's weight, which checkpoints of tied models usually omit."""
    embedding = weights.get(EMBEDDING, weights.get(HEAD))
    if embedding is None:
        return  # `_fill` reports the missing weights
    weights.setdefault(EMBEDDING, embedding)
    if not torch.equal(weights.setdefault(HEAD, embedding), embedding):
        raise DamagedFileError(
            f"{HEAD} in {folder} must equal {EMBEDDING}, because config.json sets "
            f"tie_word_embeddings; got different values."
        )


def _fill(
    model: LanguageModel, weights: dict, dtype: torch.dtype, folder: Path
) -> None:
    state = model.state_dict()
    for what, names in (
        ("is missing", state.keys() - weights.keys()),
        ("has unexpected", weights.keys() - state.keys()),
    ):
        if names:
            sample = ", ".join(sorted(names)[:3])
            raise DamagedFileError(f"{folder} {what} weights ({len(names)}): {sample}.")
    for name, tensor in weights.items():
        if tensor.shape != state[name].shape:
            raise DamagedFileError(
                f"{name} in {folder} must have shape {list(state[name].shape)}, as in "
                f"config.json; got {list(tensor.shape)}."
            )
        weights[name] = tensor.to(torch.float32 if ".gate." in name else dtype)
    model.load_state_dict(weights, assign=True)
    model.tie()  # `assign=True` replaced the shared parameter with two separate ones
