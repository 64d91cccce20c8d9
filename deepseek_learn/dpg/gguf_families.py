"""What a GGUF file says about each architecture of language models.

Source: the conversion script of llama.cpp, whose reader decides what is possible.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DeepSeekLearnError, require

PATTERN = 6  # every sixth layer of a Gemma 3 sees all tokens


class GGUFError(DeepSeekLearnError):
    """Raised for a model or tokenizer that a GGUF file cannot hold."""


@dataclass(frozen=True)
class Family:
    """An architecture, as llama.cpp knows it.

    Attributes:
        name: GGUF's name of the architecture.
        activation: of the feed-forward layers.
        rotations: the kinds of rotary embeddings, besides the default one.
        biases: whether the layers of the attention may have biases.
        interleaved: whether rotary embeddings rotate neighboring elements of queries and
            keys; in transformers, an element and its partner are half a head apart.
        offset: what is added to the weight of each norm; Gemma's are stored less 1.
        layers: the number of layers.
    """

    name: str
    activation: str = "silu"
    rotations: tuple[str, ...] = ("linear",)
    biases: bool = True
    interleaved: bool = False
    offset: float = 0.0
    layers: int = 0

    def describe(self, writer: Any, config: Any) -> None:
        """Write the sizes and options of a model."""
        gguf = require("gguf", extra="language", purpose="Writing GGUF files")
        writer.add_name(config.model_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(head_size(config))
        writer.add_value_length(head_size(config))
        writer.add_rope_dimension_count(head_size(config))
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        rope = rotary(config)
        writer.add_rope_freq_base(rope["rope_theta"])
        if rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        if self.name == "gemma3":
            writer.add_sliding_window(config.sliding_window)
            writer.add_sliding_window_pattern(PATTERN)
            writer.add_rope_freq_base_swa(rotary(config, "sliding")["rope_theta"])

    def tensor_name(self, name: str) -> str:
        """Return GGUF's name of a weight.

        Raises:
            GGUFError: if it has none.
        """
        gguf = require("gguf", extra="language", purpose="Writing GGUF files")
        arch = {each: key for key, each in gguf.MODEL_ARCH_NAMES.items()}[self.name]
        names = gguf.get_tensor_name_map(arch, self.layers)
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is None:
            raise GGUFError(f"{self.name} has no place for the weight {name!r}.")
        return own

    def row_order(self, config: Any, name: str, rows: int) -> Tensor | None:
        """Return which row of a weight comes first, second, ...; None for all as is."""
        part = name.rsplit(".", 2)[-2]
        if not self.interleaved or part not in ("q_proj", "k_proj"):
            return None
        halves = torch.arange(rows).view(-1, 2, head_size(config) // 2)
        return halves.transpose(1, 2).reshape(-1)

    def adjust(self, name: str, value: Tensor) -> Tensor:
        """Return a float weight as llama.cpp expects it."""
        return value + self.offset if name.endswith("norm.weight") else value

    def extra_tensors(self, model: Any) -> Iterator[tuple[str, np.ndarray]]:
        """Yield tensors that are no weights: Llama 3's frequency factors, `[D / 2]`."""
        rope = rotary(model.config)
        if rope["rope_type"] == "llama3":
            size = head_size(model.config)
            default = rope["rope_theta"] ** -(torch.arange(0, size, 2).double() / size)
            scaled = model.get_decoder().rotary_emb.inv_freq.double().cpu()
            yield "rope_freqs.weight", (default / scaled).float().numpy()


FAMILIES = {  # by transformers' name
    "llama": Family("llama", rotations=("linear", "llama3"), interleaved=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3", biases=False),
    "gemma3_text": Family(
        "gemma3", activation="gelu_pytorch_tanh", biases=False, offset=1.0
    ),
}


def head_size(config: Any) -> int:
    """Return the number of elements of an attention head."""
    size = getattr(config, "head_dim", None)
    return size or config.hidden_size // config.num_attention_heads


def rotary(config: Any, layers: str = "full") -> dict[str, Any]:
    """Return the options of rotary embeddings, of some layers where these differ."""
    options = config.rope_parameters
    return options.get(f"{layers}_attention", options)


def family_of(model: Any) -> Family:
    """Return a model's architecture.

    Raises:
        GGUFError: if there is none for it, or if the model has an option that llama.cpp
            does not know.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", type(model).__name__)
    if config is None or kind not in FAMILIES or not hasattr(model, "get_decoder"):
        raise GGUFError(
            f"model must be one of transformers' language models, {', '.join(FAMILIES)}; "
            f"got {kind!r}."
        )
    family = replace(FAMILIES[kind], layers=config.num_hidden_layers)
    _check_options(family, config)
    return family


def _check_options(family: Family, config: Any) -> None:
    """Refuse what llama.cpp would compute in another way, or not load."""

    def option(name: str, default: Any = None) -> Any:
        return getattr(config, name, default)

    activation = option("hidden_activation") or option("hidden_act")
    full, sliding = rotary(config), rotary(config, "sliding")
    kinds = ("default", *family.rotations)
    kind = full["rope_type"]
    is_gemma = family.name == "gemma3"
    windows = [
        is_gemma and index % PATTERN != PATTERN - 1 for index in range(family.layers)
    ]
    own = option("layer_types")
    own = windows if own is None else [each == "sliding_attention" for each in own]
    size, scale = head_size(config), option("query_pre_attn_scalar")
    caps = option("attn_logit_softcapping"), option("final_logit_softcapping")
    problems = {
        f"the activation {activation!r}": activation != family.activation,
        f"rotary embeddings of the kind {kind!r}": kind not in kinds,
        "scaled rotary embeddings in layers with a sliding window": (
            is_gemma and sliding["rope_type"] != "default"
        ),
        "rotary embeddings of a part of each head": (
            full.get("partial_rotary_factor", 1.0) != 1.0
        ),
        "sliding windows in these layers": own != windows,
        "biases in its attention": not family.biases
        and option("attention_bias", False),
        f"query_pre_attn_scalar {scale} with heads of {size}": scale
        not in (None, size),
        "soft-capped logits": any(caps),
        "attention in both directions": option("use_bidirectional_attention", False),
    }
    for what, is_true in problems.items():
        if is_true:
            raise GGUFError(f"llama.cpp's {family.name} does not support {what}.")
