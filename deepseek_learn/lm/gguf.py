"""Read language models from GGUF files, the format of llama.cpp.

The package `gguf` reads the file and turns each of its types (Q4_0 ... Q8_0, the K-quants,
the IQ types) into floats; this module maps its names and layout to ours. In files of the
architecture "llama", the rows of queries and keys already stand in pairs of neighbors, as
in our rotary embedding; in the others they do not. Gemma's norms are stored with the 1
that its other checkpoints leave out.

The codes of Q4_0, Q5_0 and Q8_0 are also those of `dpg`, so a model can be packed without
unpacking it. Reading moves whole rows of matrices, so a packed row travels as one *record*
of bytes: its codes, its scales and its number of bits.
"""

import dataclasses
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..bar import Bar
from ..catalog import text
from ..dpg.arena import gather
from ..dpg.assembly import assemble, packed_layer
from ..dpg.codes import Codes
from ..dpg.gguf import BLOCK, TYPES, codes_of
from ..dpg.layers import DPGLayer, DPGLinear
from ..dpg.packed import pack_matrix
from ..dpg.rounding import quantize
from ..errors import DamagedFileError, require
from .config import TRAINED, Config
from .experts import separate
from .families import arranged, config_of
from .model import LanguageModel

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

KINDS = {  # a file's architecture → the model type of a config.json
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "gemma3": "gemma3_text",
}
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {  # the names of a layer's tensors in a file → in a checkpoint
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate",
    "ffn_up_exps": "mlp.experts.up",
    "ffn_down_exps": "mlp.experts.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
STACKS = (".experts.gate_up_proj", ".experts.down_proj")
OTHER_BITS = 8  # of what is stored in other types, when it is packed
ROUTER = ".ffn_gate_inp"  # stays in float, as in the models
REQUIRED = (  # what a file must say
    *("embedding_length", "feed_forward_length", "block_count", "context_length"),
    *("attention.head_count", "attention.layer_norm_rms_epsilon"),
)
SCALINGS = ("none", "linear", "yarn")
FACTORS = "rope_freqs.weight"  # Llama 3's slowing down of each pair
LARGEST_GEMMA = 62  # layers of Gemma 3 27B, whose scores are divided by another number


def read(
    path: Path, packed: bool = False, progress: bool = False
) -> tuple[Config, dict[str, Tensor]]:
    """Return the configuration in a file, and the weights in our layout.

    Args:
        packed: whether to return matrices as records of packed rows.
        progress: whether to show a progress bar.

    Raises:
        DamagedFileError: if the file is truncated, or has a tensor of no known name.
        MissingPackageError: if the package gguf is not installed.
        ValueError: if the architecture or an option is not supported.
    """
    reader = opened(path)
    content = _content(reader, path)
    config = config_of(content)
    weights = dict(_weights(reader, content["model_type"], path, packed, progress))
    if (factors := weights.pop(FACTORS, None)) is not None:
        base = {"rope_theta": config.rope_parameters["rope_theta"]}
        rope = base | {"rope_type": "factors", "factors": tuple(factors.tolist())}
        config = dataclasses.replace(config, rope_parameters=rope)
    halves = content["model_type"] not in ("llama", "mixtral")
    return config, arranged(weights, config, halves=halves)


def opened(path: Path) -> "GGUFReader":
    """Open a GGUF file.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if the file is truncated.
        MissingPackageError: if the package gguf is not installed.
    """
    gguf = require("gguf", extra="language", purpose="reading a GGUF file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        return gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError) as error:
        message = f"{path} is not a complete GGUF file: {error}"
        raise DamagedFileError(message) from error


def _content(reader: "GGUFReader", path: Path) -> dict[str, Any]:
    """Return a file's metadata under the names of a config.json."""
    tensors = {tensor.name for tensor in reader.tensors}
    architecture = reader.fields["general.architecture"].contents()
    if architecture not in KINDS:
        known = ", ".join(KINDS)
        raise ValueError(
            f"general.architecture in {path.name} must be one of {known}; got "
            f"{architecture!r}."
        )

    def of(name: str, default: Any = None) -> Any:
        field = reader.fields.get(f"{architecture}.{name}")
        if field is None and name in REQUIRED:
            raise ValueError(f"{architecture}.{name} must be given in {path.name}.")
        value = default if field is None else field.contents()
        if isinstance(value, list):  # one for each layer
            if len({*value}) > 1:
                raise ValueError(f"{name} must be equal in all layers; got {value}.")
            value = value[0]
        return value

    heads, size = of("attention.head_count"), of("embedding_length")
    kind, experts = KINDS[architecture], of("expert_count")
    content = {
        "model_type": "mixtral" if kind == "llama" and experts else kind,
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "hidden_size": size,
        "intermediate_size": of("feed_forward_length"),
        "num_hidden_layers": of("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": of("attention.head_count_kv", heads),
        "head_dim": of("attention.key_length", size // heads),
        "max_position_embeddings": of("context_length"),
        "rms_norm_eps": of("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "sliding_window": None,  # as in llama.cpp, of Gemma's layers only
        "num_local_experts": experts,
        "num_experts_per_tok": of("expert_used_count"),
        "moe_intermediate_size": of("expert_feed_forward_length"),
        "norm_topk_prob": True,
    }
    rope = _rope(of)
    if kind != "gemma3_text":
        return content | {"rope_parameters": rope}
    dim = size // heads if of("block_count") == LARGEST_GEMMA else content["head_dim"]
    local = {"rope_theta": of("rope.freq_base_swa", 10_000.0)}
    return content | {
        "rope_parameters": {"full_attention": rope, "sliding_attention": local},
        "sliding_window": of("attention.sliding_window"),
        "sliding_window_pattern": of("attention.sliding_window_pattern", 6),
        "query_pre_attn_scalar": dim,
        "final_logit_softcapping": of("final_logit_softcapping"),
    }


def _rope(of: Any) -> dict[str, Any]:
    kind = of("rope.scaling.type", "none")
    if kind not in SCALINGS:
        known = ", ".join(SCALINGS)
        raise ValueError(f"rope.scaling.type must be one of {known}; got {kind!r}.")
    rope = {"rope_theta": of("rope.freq_base", 10_000.0)}
    if kind == "none":
        return rope
    rope |= {"rope_type": kind, "factor": of("rope.scaling.factor", 1.0)}
    return rope | {TRAINED: of("rope.scaling.original_context_length")}


def _weights(
    reader: "GGUFReader", kind: str, path: Path, packed: bool, progress: bool
) -> Iterator[tuple[str, Tensor]]:
    """Yield a file's tensors under the names of a checkpoint, floats in float32."""
    from gguf.quants import dequantize

    pairs: dict[str, Tensor] = {}
    for tensor in _watched(reader, progress):
        name, _, what = tensor.name.rpartition(".")
        if packed and len(tensor.shape) > 1 and not name.endswith(ROUTER):
            data = _records(tensor)
        else:
            data = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        if tensor.name == FACTORS:
            yield FACTORS, data
            continue
        prefix, table = "", NAMES
        if name.startswith("blk."):
            _, layer, name = name.split(".", 2)
            prefix, table = f"model.layers.{layer}.", LAYER
        if name not in table:
            raise DamagedFileError(
                f"{path} has a tensor that is not known: {tensor.name}."
            )
        ours = prefix + table[name]
        if kind == "gemma3_text" and name == "ffn_norm":
            ours = f"{prefix}pre_feedforward_layernorm"
        if name in ("ffn_gate_exps", "ffn_up_exps"):  # ours stacks the two
            if (other := pairs.pop(prefix, None)) is None:
                pairs[prefix] = data
                continue
            both = (other, data) if name == "ffn_up_exps" else (data, other)
            yield f"{prefix}mlp.experts.gate_up_proj", torch.cat(both, 1)
            continue
        is_stack = ours.endswith("experts.down_proj")
        yield (ours if is_stack else f"{ours}.{what}"), data


def _watched(reader: "GGUFReader", progress: bool) -> Iterator["ReaderTensor"]:
    """Yield a file's tensors, with a progress bar that counts their bytes."""
    size = sum(int(tensor.n_bytes) for tensor in reader.tensors)
    with Bar(size, progress, text("lm.bar")) as bar:
        for tensor in reader.tensors:
            yield tensor
            bar.advance(int(tensor.n_bytes))


def _records(tensor: "ReaderTensor") -> Tensor:
    """Return a matrix, or a stack of them, as records of its rows, [..., N, bytes]."""
    from gguf.quants import dequantize

    *shape, _ = tensor.data.shape
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    bits = {name: bits for bits, name in TYPES.items()}.get(tensor.tensor_type.name)
    if bits is None:
        weight = torch.tensor(dequantize(rows, tensor.tensor_type))
        codes = quantize(weight, OTHER_BITS, BLOCK)
    else:
        codes = codes_of(rows, bits)
    scale = codes.scale.T.flatten().view(torch.uint8)
    scale = scale.view(len(rows), -1)  # [N, 2 K / 32]
    parts = [codes.codes, scale, codes.bits[:, None].to(torch.uint8)]
    return torch.cat(parts, 1).view(*shape, -1)


def _codes(records: Tensor, columns: int) -> Codes:
    groups = ceil(columns / BLOCK)
    codes, scale, bits = records.split([groups * BLOCK, 2 * groups, 1], 1)
    scale = scale.flatten().view(torch.bfloat16).view(-1, groups).T.contiguous()
    return Codes(codes.contiguous(), scale, bits[:, 0].long(), columns)


def build_packed(config: Config, state: dict[str, Tensor]) -> LanguageModel:
    """Build a model with packed layers from weights that `read` returned as records."""
    with torch.device("meta"):  # allocate no memory, since the weights get replaced
        model = separate(LanguageModel(config))
    for name in [name for name in state if name.endswith(STACKS)]:
        stack, _, which = name.rpartition(".")
        for index, records in enumerate(state.pop(name)):
            state[f"{stack}.{index}.{which}.weight"] = records
    _check(model.state_dict(), state, config.tie_word_embeddings)
    new: dict[str, DPGLayer] = {}
    for name, layer in model.named_modules():
        records = state.get(f"{name}.weight")
        if not isinstance(layer, nn.Linear | nn.Embedding) or records is None:
            continue
        if records.dtype == torch.uint8:  # a router's are floats
            del state[f"{name}.weight"]
            codes = _codes(records, layer.weight.shape[1])
            new[name] = packed_layer(layer, pack_matrix(codes, layer.weight))
    if config.tie_word_embeddings:
        matrix = new["model.embed_tokens"].matrix
        new["lm_head"] = DPGLinear(matrix, None)
        new["lm_head"].tied = True
    model = assemble(model, new)
    gather(model)
    model.load_state_dict(state, strict=False, assign=True)
    return cast(LanguageModel, model.eval())


def _check(wanted: dict[str, Tensor], state: dict[str, Tensor], is_tied: bool) -> None:
    """Refuse weights that are missing, unexpected or of another shape.

    Raises:
        DamagedFileError: with the name of the first one.
    """
    missing = wanted.keys() - state.keys() - ({"lm_head.weight"} if is_tied else set())
    if wrong := missing or state.keys() - wanted.keys():
        what = "is missing" if missing else "has unexpected"
        raise DamagedFileError(f"The file {what} weights: {min(wrong)}.")
    for name, tensor in state.items():
        *rows, last = wanted[name].shape
        if tensor.dtype == torch.uint8:  # records
            last = ceil(last / BLOCK) * (BLOCK + 2) + 1
        if list(tensor.shape) != [*rows, last]:
            got = list(tensor.shape)
            raise DamagedFileError(
                f"{name} must have shape {list(wanted[name].shape)}, as the file's "
                f"metadata says; got {got[:-1]} rows of {got[-1]} values or bytes."
            )
