"""Tiny random models of the public reference, and ours with the same weights."""

import torch
import transformers

from deepseek_learn.lm import Config, LanguageModel
from deepseek_learn.lm.config import COMPRESSED_SPARSE, HEAVILY_COMPRESSED, SLIDING

VOCAB = 97
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}
LATENT = SIZES | {
    "intermediate_size": 64,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "kv_lora_rank": 16,
    "q_lora_rank": 20,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 10,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
HYBRID = SIZES | {
    "num_hidden_layers": 4,
    "moe_intermediate_size": 32,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "q_lora_rank": 24,
    "num_experts_per_tok": 2,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "layer_types": [SLIDING, COMPRESSED_SPARSE, HEAVILY_COMPRESSED, COMPRESSED_SPARSE],
    "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
    "compress_rates": {COMPRESSED_SPARSE: 4, HEAVILY_COMPRESSED: 16},
    "sliding_window": 8,
    "o_groups": 2,
    "o_lora_rank": 16,
    "index_n_heads": 8,
    "index_head_dim": 16,
    "index_topk": 4,
    "partial_rotary_factor": 0.25,
    "num_nextn_predict_layers": 0,
}
# with fewer than 8 indexer heads scores tie at 0; the reference breaks ties either way
INDEXED = {"index_topk": 8, "index_head_dim": 16, "index_n_heads": 8}

CASES = {
    "V2": ("DeepseekV2", LATENT | {"topk_method": "greedy"}),
    "V2 groups, no low-rank query": (
        "DeepseekV2",
        LATENT | {"topk_method": "group_limited_greedy", "q_lora_rank": None},
    ),
    "V3": ("DeepseekV3", LATENT | {"num_mtp_layers": 0}),
    "V3 YaRN": (
        "DeepseekV3",
        LATENT
        | {"num_mtp_layers": 0}
        | {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.7}},
    ),
    "V3 YaRN without mscale": (
        "DeepseekV3",
        LATENT | {"num_mtp_layers": 0, "rope_parameters": YARN},
    ),
    "V3.2": ("DeepseekV32", LATENT | INDEXED),
}
HYBRIDS = {
    "V4": ("DeepseekV4", HYBRID),
    "V4 YaRN": ("DeepseekV4", HYBRID | {"rope_parameters": YARN}),
}


def reference(case: str, **changes):
    """A reference model with random weights, such that nothing cancels."""
    name, sizes = (CASES | HYBRIDS)[case]
    config = getattr(transformers, f"{name}Config")(**sizes | changes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    scatter(model)
    return model


@torch.no_grad()
def scatter(model) -> None:
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("hc_", "_hc", "position_bias", "sinks")):
            parameter.normal_(0, 0.5)
        elif parameter.dim() > 1:
            parameter.normal_(0, 0.3)
        else:
            parameter.uniform_(0.5, 1.5)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.normal_(0, 0.2)
        if name.endswith("tid2eid"):
            buffer.copy_(torch.rand(len(buffer), 8).topk(buffer.shape[1]).indices)


def ours(model) -> LanguageModel:
    """The same model in this library: the same names, all of them loaded."""
    config = Config.from_reference(model.config.to_dict())
    made = LanguageModel(config).eval()
    made.load_state_dict(model.state_dict(), strict=True)
    return made


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB, shape, generator=generator)
