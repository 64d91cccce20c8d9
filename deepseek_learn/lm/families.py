"""Llama, Qwen, Mistral and Gemma as cases of our `LanguageModel`.

Their config.json files become a `Config`, and their weights get our names. Two things
differ in the layout. Their rotary embedding pairs channel i with i + d/2, and ours pairs
neighbors, so the rows of queries and keys are reordered once. And ours keeps the
projections of keys and values in one matrix.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import DamagedFileError
from .config import GROUPED, TRAINED, WINDOWED, Config
from .experts import ACTIVATIONS

# what a config.json may leave out, because it is the default of the model type
LONG = {"max_position_embeddings": 32_768}
QWEN = LONG | {"rms_norm_eps": 1e-6, "sliding_window": 4096, "max_window_layers": 28}
MISTRAL = {"max_position_embeddings": 4096 * 32, "num_key_value_heads": 8}
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "qwen2": QWEN | {"num_key_value_heads": 32},
    "qwen3": QWEN | {"num_key_value_heads": 32, "head_dim": 128},
    "qwen3_moe": QWEN | {"num_key_value_heads": 4},
    "mistral": MISTRAL | {"sliding_window": 4096},
    "mixtral": MISTRAL | {"rms_norm_eps": 1e-5, "rope_theta": 1e6},
    "gemma3_text": {
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "rope_theta": 1e6,
        "rope_local_base_freq": 10_000.0,
    },
}
FAMILIES = (*DEFAULTS, "gemma3")
MIXTURES = ("qwen3_moe", "mixtral")
ROPES = {  # the types of rotary embedding, with what each requires
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
}
# options of a config.json that are supported only with these values
ONLY: dict[str, tuple] = {
    "attn_logit_softcapping": (None,),
    "use_bidirectional_attention": (None, False),
    "partial_rotary_factor": (None, 1.0),
    "quantization_config": (None,),
}
KEEP = (  # fields with the same name and meaning in both
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
    *("rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias"),
    *("query_pre_attn_scalar", "final_logit_softcapping", "num_experts_per_tok"),
    *("moe_intermediate_size", "norm_topk_prob", "hidden_act"),
)
MIXTRAL = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
OF_EXPERT = re.compile(r"(.*)\.block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight")
QUERY_KEY = re.compile(r".*\.self_attn\.[qk]_(proj\.weight|proj\.bias|norm\.weight)")
KEY = re.compile(r"(.*\.self_attn\.)k_proj\.(weight|bias)")
LANGUAGE = re.compile(r"(?:model\.language_model|language_model\.model)\.")
OTHER = re.compile(r"(?:model\.)?(?:vision_tower|multi_modal_projector)\.")


def config_of(content: dict[str, Any]) -> Config:
    """Create a configuration from the contents of a config.json.

    Raises:
        ValueError: if an option is not supported. The message names it.
    """
    kind = content["model_type"]
    if kind == "gemma3":  # text and images: the part that reads text
        if not isinstance(text := content.get("text_config"), dict):
            raise ValueError(f"text_config must be given for gemma3; got {text}.")
        tied = content.get("tie_word_embeddings", True)
        return config_of(
            {"tie_word_embeddings": tied} | text | {"model_type": "gemma3_text"}
        )
    c = DEFAULTS[kind] | content
    if kind == "gemma3_text":
        c["hidden_act"] = content.get("hidden_activation", c["hidden_act"])
    if missing := [each for each in KEEP[:5] if c.get(each) is None]:
        raise ValueError(f"config.json of {kind} must have {missing[0]}; got none.")
    acts = ("silu",) if kind in MIXTURES else tuple(ACTIVATIONS)
    for name, choices in ONLY.items() | {("hidden_act", acts)}:
        if (got := c.get(name, choices[0])) not in choices:
            options = " or ".join(map(repr, choices))
            raise ValueError(f"{name} must be {options} for {kind}; got {got!r}.")
    heads, layers = c["num_attention_heads"], c["num_hidden_layers"]
    dim = c.get("head_dim") or c["hidden_size"] // heads
    values = {name: c[name] for name in KEEP if c.get(name) is not None}
    values |= {"head_dim": dim, "qk_rope_head_dim": dim, "o_groups": 1}
    values |= {"layer_types": _layers(kind, c), "rope_parameters": _ropes(kind, c)}
    values["sliding_window"] = c.get("sliding_window") or 1  # 1: no layer has a window
    values["attention_out_bias"] = values.get("attention_bias", False)
    if kind == "qwen2":
        values |= {"attention_bias": True, "attention_out_bias": False}
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        values["qk_norm"] = True
    if kind == "gemma3_text":
        scale = c["hidden_size"] ** 0.5
        values |= {"sandwich_norm": True, "embedding_scale": scale}
    return Config(**values | _mixture(kind, c, layers))


def _mixture(kind: str, c: dict[str, Any], layers: int) -> dict[str, Any]:
    if kind not in MIXTURES:
        return {"first_k_dense_replace": layers}
    experts = c.get("num_local_experts") or c.get("num_experts")  # both are in use
    values = {
        "first_k_dense_replace": 0,
        "n_shared_experts": 0,
        "topk_method": "greedy",
        "scoring_func": "softmax",
    }
    if kind == "mixtral":
        return values | {
            "n_routed_experts": experts or 8,
            "moe_intermediate_size": c["intermediate_size"],
            "num_experts_per_tok": c.get("num_experts_per_tok", 2),
        }
    every, dense = c.get("decoder_sparse_step", 1), c.get("mlp_only_layers") or ()
    return values | {
        "n_routed_experts": experts or 128,
        "moe_intermediate_size": c.get("moe_intermediate_size", 768),
        "num_experts_per_tok": c.get("num_experts_per_tok", 8),
        "norm_topk_prob": c.get("norm_topk_prob", False),
        "mlp_only_layers": tuple(
            i for i in range(layers) if i in dense or (i + 1) % every
        ),
    }


def _layers(kind: str, c: dict[str, Any]) -> tuple[str, ...]:
    """Return the type of attention of each layer."""
    count, window = c["num_hidden_layers"], c.get("sliding_window")
    if kind == "llama" or (kind[:4] == "qwen" and not c.get("use_sliding_window")):
        window = None
    if window is None:
        return (GROUPED,) * count
    if (kinds := c.get("layer_types")) is None:
        pattern, first = c.get("sliding_window_pattern", 6), 0
        if kind in ("qwen2", "qwen3"):
            first = c["max_window_layers"]
        full = pattern if kind == "gemma3_text" else count + 1
        kinds = [
            "full_attention" if i < first or not (i + 1) % full else "sliding_attention"
            for i in range(count)
        ]
    names = {"full_attention": GROUPED, "sliding_attention": WINDOWED}
    if unknown := [each for each in kinds if each not in names]:
        raise ValueError(
            f"layer_types must be {' or '.join(names)} for {kind}; got {unknown[0]!r}."
        )
    return tuple(names[each] for each in kinds)


def _ropes(kind: str, c: dict[str, Any]) -> dict[str, Any]:
    """Return the rotary parameters; Gemma's layers with a window have their own."""
    given = c.get("rope_parameters") or {}
    if kind != "gemma3_text":
        return _rope(given or c.get("rope_scaling") or {}, c, c.get("rope_theta"))
    main = given.get("full_attention") or c.get("rope_scaling") or {}
    local = given.get("sliding_attention") or {}
    return {
        "main": _rope(main, c, c["rope_theta"]),
        "sliding": _rope(local, c, c["rope_local_base_freq"]),
    }


def _rope(given: dict[str, Any], c: dict[str, Any], base: float | None) -> dict:
    rope = {"rope_type": given.get("type", "default")} | given
    rope["rope_theta"] = given.get("rope_theta") or base or 10_000.0
    if rope["rope_type"] not in ROPES:
        raise ValueError(
            f"rope_type must be one of {', '.join(ROPES)}; got {rope['rope_type']!r}."
        )
    for name in ROPES[rope["rope_type"]]:
        if not isinstance(rope.get(name), int | float):
            raise ValueError(
                f"rope_parameters must have a number {name} for {rope['rope_type']}; "
                f"got {rope.get(name)!r}."
            )
    if rope.get("partial_rotary_factor", 1.0) != 1:
        got = rope["partial_rotary_factor"]
        raise ValueError(f"partial_rotary_factor must be 1; got {got}.")
    if not rope.get(TRAINED):
        rope[TRAINED] = c["max_position_embeddings"]
    return rope


def renamed(weights: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Return a family's weights under our names and in our layout.

    What reads images is left out.

    Raises:
        DamagedFileError: if a projection of keys has none of values.
    """
    state = arranged(dict(_named(weights)), config, halves=True)
    if config.sandwich_norm:  # Gemma's norms multiply by 1 + weight
        for name in state:
            if name.endswith("norm.weight"):
                state[name] = state[name].float() + 1
    return state


def arranged(
    state: dict[str, Tensor], config: Config, halves: bool
) -> dict[str, Tensor]:
    """Return a checkpoint's weights in our layout.

    Args:
        halves: whether a rotary pair is (i, i + dim/2) in the rows of queries and keys.

    Raises:
        DamagedFileError: if a projection of keys has none of values.
    """
    rows = [name for name in state if QUERY_KEY.fullmatch(name)] if halves else []
    for name in rows:
        state[name] = _neighbors(state[name], config.head_dim)
    for name in list(state):
        if match := KEY.fullmatch(name):
            layer, what = match.groups()
            if (value := state.pop(f"{layer}v_proj.{what}", None)) is None:
                raise DamagedFileError(f"{layer}v_proj.{what} is missing.")
            state[f"{layer}kv_proj.{what}"] = torch.cat([state.pop(name), value])
    return state


def _named(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        if OTHER.match(name):
            continue
        name = LANGUAGE.sub("model.", name).replace("language_model.lm_head", "lm_head")
        if match := OF_EXPERT.fullmatch(name):
            block, index, which = match.groups()
            name = f"{block}.mlp.experts.{index}.{MIXTRAL[which]}.weight"
        yield name.replace(".block_sparse_moe.", ".mlp."), tensor


def _neighbors(rows: Tensor, dim: int) -> Tensor:
    """Reorder rows, [heads * dim, ...], from pairs (i, i + dim/2) to (2 i, 2 i + 1)."""
    if len(rows) % dim:
        return rows  # of a wrong shape, which is reported later
    halves = rows.unflatten(0, (-1, 2, dim // 2))  # [heads, 2, dim/2, ...]
    return halves.transpose(1, 2).flatten(0, 2)
