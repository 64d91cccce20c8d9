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
        interleaved: whether rotary embeddings turn neighboring elements of queries and
            keys; transformers has their first halves in front.
        offset: what is added to the weight of each norm; Gemma's are stored less 1.
        layers: the number of layers.
    """

    name: str
    interleaved: bool = False
    offset: float = 0.0
    layers: int = 0

    def describe(self, writer: Any, config: Any) -> None:
        """Write the sizes and options of a model."""
        writer.add_name(config.model_type)
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
            gguf = require("gguf", extra="language", purpose="Writing GGUF files")
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
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise GGUFError(f"{self.name} has no place for the weight {name!r}.")
        return found

    def row_order(self, config: Any, name: str, rows: int) -> Tensor | None:
        """Return which row of a weight comes first, second, ...; None for all as is."""
        part = name.rsplit(".", 2)[-2]
        if not self.interleaved or part not in ("q_proj", "k_proj"):
            return None
        halves = torch.arange(rows).view(-1, 2, head_size(config) // 2)
        return halves.transpose(1, 2).reshape(-1)

    def adjusted(self, name: str, value: Tensor) -> Tensor:
        """Return a float weight as llama.cpp expects it."""
        return value + self.offset if name.endswith("norm.weight") else value

    def extra_tensors(self, model: Any) -> Iterator[tuple[str, np.ndarray]]:
        """Yield what is no weight of the model: the factors of Llama 3's rotation."""
        rope = rotary(model.config)
        if rope["rope_type"] == "llama3":
            size = head_size(model.config)
            plain = rope["rope_theta"] ** -(torch.arange(0, size, 2).double() / size)
            turned = model.get_decoder().rotary_emb.inv_freq.double().cpu()
            yield "rope_freqs.weight", (plain / turned).float().numpy()


FAMILIES = {  # by transformers' name
    "llama": Family("llama", interleaved=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
    "gemma3_text": Family("gemma3", offset=1.0),
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
    _check_options(config)
    return replace(FAMILIES[kind], layers=config.num_hidden_layers)


def _check_options(config: Any) -> None:
    act = getattr(config, "hidden_activation", None) or config.hidden_act
    gemma = config.model_type == "gemma3_text"
    kinds = [rotary(config)["rope_type"], rotary(config, "sliding")["rope_type"]]
    allowed = ("default", "linear", "llama3")
    expected = [
        "full_attention"
        if (gemma and i % PATTERN == PATTERN - 1) or not gemma
        else "sliding_attention"
        for i in range(config.num_hidden_layers)
    ]
    scale = getattr(config, "query_pre_attn_scalar", None)
    problems = {
        f"the activation {act!r}": act != ("gelu_pytorch_tanh" if gemma else "silu"),
        f"rotary embeddings of the kind {kinds!r}": not {*kinds} <= {*allowed},
        "sliding windows in these layers": (
            getattr(config, "layer_types", None) or expected
        )
        != expected,
        f"query_pre_attn_scalar {scale} with heads of {head_size(config)}": scale
        not in (None, head_size(config)),
        "soft-capped logits": bool(
            getattr(config, "attn_logit_softcapping", None)
            or getattr(config, "final_logit_softcapping", None)
        ),
        "attention in both directions": bool(
            getattr(config, "use_bidirectional_attention", False)
        ),
    }
    for what, wrong in problems.items():
        if wrong:
            raise GGUFError(f"llama.cpp's {config.model_type} has not {what}.")
