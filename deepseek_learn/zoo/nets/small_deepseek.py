"""A small DeepSeek model that writes verse in two languages.

It has hybrid attention and a mixture of experts.
"""

from dataclasses import replace

from ...lm import Config, LanguageModel
from ...lm.config import COMPRESSED_SPARSE, HEAVILY_COMPRESSED, SLIDING

CONFIG = Config(
    vocab_size=4096,
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=5,
    num_attention_heads=6,
    max_position_embeddings=256,
    layer_types=(
        SLIDING,
        COMPRESSED_SPARSE,
        HEAVILY_COMPRESSED,
        COMPRESSED_SPARSE,
        HEAVILY_COMPRESSED,
    ),
    num_nextn_predict_layers=1,
    q_lora_rank=96,
    qk_rope_head_dim=16,
    index_n_heads=8,
    index_head_dim=32,
    index_topk=16,
    head_dim=32,
    sliding_window=32,
    compress_rates={COMPRESSED_SPARSE: 4, HEAVILY_COMPRESSED: 16},
    o_groups=2,
    o_lora_rank=48,
    n_routed_experts=16,
    num_experts_per_tok=2,
    moe_intermediate_size=96,
)
LAYERS = CONFIG.num_hidden_layers
# the datasets on which the model is evaluated → the kind of their documents
TEXTS = {"tang_poems": "poem", "english_verses": "verse"}


def dense(experts: int) -> Config:
    """Return a configuration without experts, in which all layers have the same width.

    The layers together have as many feed-forward neurons as a model with a dense first
    layer and `experts` experts in each of the other layers.
    """
    neurons = (LAYERS - 1) * experts * CONFIG.moe_intermediate_size
    width = round((CONFIG.intermediate_size + neurons) / LAYERS)
    return replace(CONFIG, first_k_dense_replace=LAYERS + 1, intermediate_size=width)


DENSE = {
    "dense, equal active": dense(CONFIG.num_experts_per_tok + CONFIG.n_shared_experts),
    "dense, equal total": dense(CONFIG.n_routed_experts + CONFIG.n_shared_experts),
}


def small_deepseek() -> LanguageModel:
    """Build the model.

    It maps token ids (0 to 4095) of shape `[B, T]` to logits of shape `[B, T, 4096]`.
    """
    return LanguageModel(CONFIG)
