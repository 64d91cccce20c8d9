"""The configuration of a language model.

The fields have the same names as in the config.json of the public references.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any

LATENT = "latent_attention"  # V2 and V3
SPARSE = "sparse_attention"  # V3.2
SLIDING = "sliding_attention"  # this and the next two: V4
COMPRESSED_SPARSE = "compressed_sparse_attention"
HEAVILY_COMPRESSED = "heavily_compressed_attention"
GROUPED = "grouped_query_attention"  # Llama and its relatives
WINDOWED = "windowed_grouped_query_attention"  # of the last `sliding_window` tokens
HYBRID = (SLIDING, COMPRESSED_SPARSE, HEAVILY_COMPRESSED)

# the default values for each model type of the reference
V3 = {"topk_method": "noaux_tc", "routed_scaling_factor": 2.5}
REFERENCES: dict[str, dict[str, Any]] = {
    "deepseek_v2": {
        "scoring_func": "softmax",
        "topk_method": "greedy",
        "norm_topk_prob": False,
    },
    "deepseek_v3": V3,
    "deepseek_v32": V3,
}
TRAINED = "original_max_position_embeddings"
# the option values that are supported in a config.json of the reference
ALL = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "moe_layer_freq": (1,),
    "rope_interleave": (True,),
    "rope_type": ("default", "yarn"),
    "truncate": (True,),
}
METHODS = ("noaux_tc", "greedy", "group_limited_greedy")
V2 = {"norm_topk_prob": (False,), "topk_method": METHODS[1:]}
BUILT = {
    "deepseek_v2": ALL | V2,
    "deepseek_v3": ALL | {"topk_method": METHODS[:1]},
    "deepseek_v32": ALL | {"topk_method": METHODS[:1]},
}


@dataclass(frozen=True)
class Config:
    """The configuration of a `LanguageModel`.

    The fields have the same names and meanings as in the reference.

    Attributes:
        layer_types: the type of attention used in each layer, as registered in
            `lm.attentions`. An empty tuple means latent attention in every layer.
        first_k_dense_replace: the number of initial layers that have a dense MLP
            instead of a mixture of experts.
        tie_word_embeddings: whether the head shares its weight with the embedding.
        topk_method: the method for selecting experts. `"noaux_tc"` uses a
            load-balancing bias (V3), while `"greedy"` and `"group_limited_greedy"` do
            not (V2).
        rope_parameters: a dictionary with `rope_theta` and, for YaRN, `rope_type`,
            `factor` and other settings. V4 has two such dictionaries, under the keys
            `"main"` and `"compress"`; Gemma has them under `"main"` and `"sliding"`.
        num_key_value_heads: of grouped-query attention; None means one per query head.
        qk_norm: whether each query and key is normalized before the rotation.
        query_pre_attn_scalar: the attention scores are divided by its square root; None
            means `head_dim`.
        sandwich_norm: whether the outputs of attention and MLP are normalized, too.
        embedding_scale: the factor of the embedding's vectors.
        final_logit_softcapping: c in `c * tanh(logits / c)`; None leaves them as they are.
        mlp_only_layers: further layers without a mixture of experts.

    Raises:
        ValueError: if sizes are incompatible or an option is unknown. The message names
            the fields.

    >>> from deepseek_learn import lm
    >>> config = lm.Config(hidden_size=64, num_hidden_layers=2)
    >>> config.vocab_size, config.hidden_size
    (256, 64)
    """

    vocab_size: int = 256
    hidden_size: int = 128
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-6
    rope_parameters: dict[str, Any] = field(
        default_factory=lambda: {"rope_theta": 10_000.0}
    )
    layer_types: tuple[str, ...] = ()
    num_nextn_predict_layers: int = 0
    tie_word_embeddings: bool = False
    # latent attention, and the indexer of sparse attention
    q_lora_rank: int | None = None
    kv_lora_rank: int = 64
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 16
    v_head_dim: int = 32
    index_n_heads: int = 8
    index_head_dim: int = 32
    index_topk: int = 64
    # hybrid attention, and grouped-query attention
    head_dim: int = 64
    sliding_window: int = 64
    compress_rates: dict[str, Any] = field(
        default_factory=lambda: {COMPRESSED_SPARSE: 4, HEAVILY_COMPRESSED: 32}
    )
    o_groups: int = 2
    o_lora_rank: int = 64
    # grouped-query attention, and what its models add
    num_key_value_heads: int | None = None
    attention_bias: bool = False  # of queries, keys and values
    attention_out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    query_pre_attn_scalar: float | None = None
    sandwich_norm: bool = False
    hidden_act: str = "silu"
    embedding_scale: float = 1.0
    final_logit_softcapping: float | None = None
    # mixture of experts
    first_k_dense_replace: int = 1
    mlp_only_layers: tuple[int, ...] = ()
    n_routed_experts: int = 16
    n_shared_experts: int = 1
    num_experts_per_tok: int = 2
    moe_intermediate_size: int = 128
    n_group: int = 1
    topk_group: int = 1
    topk_method: str = "noaux_tc"
    scoring_func: str = "sigmoid"
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0

    def __post_init__(self) -> None:
        kinds = tuple(self.layer_types) or (LATENT,) * self.num_hidden_layers
        object.__setattr__(self, "layer_types", kinds)
        if len(kinds) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types must have one entry for each of the "
                f"num_hidden_layers={self.num_hidden_layers} layers; got {list(kinds)}."
            )
        if {*kinds} & {SPARSE, *HYBRID} and not self.q_lora_rank:
            names = ", ".join(sorted({*kinds} - {LATENT}))
            raise ValueError(f"q_lora_rank must be set for {names}; got None.")
        hybrid = {*kinds} & {*HYBRID}  # sizes are checked only if they are used
        blocks = self.num_hidden_layers + self.num_nextn_predict_layers
        routed = self.first_k_dense_replace < blocks
        for name, divisor, used in (
            ("num_attention_heads", "o_groups", hybrid),
            ("n_routed_experts", "n_group", routed),
            ("num_attention_heads", "key_value_heads", {*kinds} & {GROUPED, WINDOWED}),
            ("qk_rope_head_dim", 2, True),
        ):
            size = getattr(self, name)
            factor = divisor if isinstance(divisor, int) else getattr(self, divisor)
            if used and (factor < 1 or size % factor):
                raise ValueError(
                    f"{name} must be a multiple of {divisor}; got {size} and {factor}."
                )
        if self.topk_method not in METHODS:
            methods = ", ".join(METHODS)
            raise ValueError(
                f"topk_method must be one of {methods}; got {self.topk_method!r}."
            )
        groups = self.n_group if self.topk_method == "greedy" else self.topk_group
        experts = groups * self.n_routed_experts // max(self.n_group, 1)
        for name, limit, used in (
            ("topk_group", self.n_group, routed),
            ("num_experts_per_tok", experts, routed),
            ("qk_rope_head_dim", self._smallest_head(), True),
        ):
            if used and not 1 <= getattr(self, name) <= limit:
                got = getattr(self, name)
                raise ValueError(f"{name} must be from 1 to {limit}; got {got}.")

    @property
    def query_rank(self) -> int:
        """The value of `q_lora_rank`, which sparse and hybrid attention require."""
        assert self.q_lora_rank is not None  # see `__post_init__`
        return self.q_lora_rank

    @property
    def key_value_heads(self) -> int:
        """The number of key-value heads of grouped-query attention."""
        return self.num_key_value_heads or self.num_attention_heads

    def routed(self, layer: int) -> bool:
        """Return whether a layer has a mixture of experts rather than a dense MLP."""
        dense = layer < self.first_k_dense_replace or layer in self.mlp_only_layers
        return not dense

    def _smallest_head(self) -> float:
        """Return the size of the smallest head that includes rotary channels.

        The result is infinite if no layer uses sparse or hybrid attention.
        """
        kinds = {*self.layer_types}
        index = self.index_head_dim if kinds & {SPARSE, COMPRESSED_SPARSE} else math.inf
        return min(index, self.head_dim if kinds & {*HYBRID} else math.inf)

    def attention(self, layer: int) -> str:
        """Return the type of attention used in a layer.

        Blocks after the last layer have the same type as the last layer.
        """
        return self.layer_types[min(layer, self.num_hidden_layers - 1)]

    def rope(self, kind: str) -> dict[str, Any]:
        """Return the rotary parameters for `"main"`, `"compress"` or `"sliding"`."""
        main = self.rope_parameters.get("main", self.rope_parameters)
        return self.rope_parameters.get(kind, main)

    @classmethod
    def from_reference(cls, content: dict[str, Any]) -> "Config":
        """Create a configuration from the contents of a reference config.json.

        The supported model types are `deepseek_v2`, `deepseek_v3` and `deepseek_v32`.

        Raises:
            ValueError: if the model type or an option is not supported.
        """
        kind = content.get("model_type")
        if kind not in REFERENCES:
            known = ", ".join(REFERENCES)
            raise ValueError(f"model_type must be one of {known}; got {kind!r}.")
        # older files call this rope_scaling and store rope_theta separately
        rope = content.get("rope_parameters") or content.get("rope_scaling") or {}
        base = {"rope_theta": content.get("rope_theta", 10_000.0)}
        rope = {"rope_type": rope.get("type", "default")} | base | rope
        for name, choices in BUILT[kind].items():
            if (got := (content | rope).get(name, choices[0])) not in choices:
                options = " or ".join(map(repr, choices))
                raise ValueError(f"{name} must be {options} for {kind}; got {got!r}.")
        if rope["rope_type"] == "yarn" and not rope.get(TRAINED):
            raise ValueError(
                f"rope_parameters must include {TRAINED} for yarn; got {rope}."
            )
        names = {each.name for each in fields(cls)} - {"layer_types"}
        sizes: dict[str, Any] = {
            name: value
            for name, value in content.items()
            if name in names and value is not None
        }
        sizes["rope_parameters"] = rope
        if kind == "deepseek_v32":
            sizes["layer_types"] = (SPARSE,) * content["num_hidden_layers"]
        return cls(**REFERENCES[kind] | sizes)
