"""How far our logits differ from the public reference's, on small models of each kind."""

from collections.abc import Iterator
from dataclasses import dataclass

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 64,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "kv_lora_rank": 16,
    "q_lora_rank": 20,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 10,
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}
KINDS = {
    "DeepseekV2": {"topk_method": "group_limited_greedy"},
    "DeepseekV3": {"num_mtp_layers": 0},
    "DeepseekV32": {"index_topk": 8, "index_head_dim": 16, "index_n_heads": 16},
}


@dataclass(frozen=True)
class Difference:
    """The largest difference of a logit, of how many, and their standard deviation."""

    kind: str
    how: str
    largest: float
    logits: int
    deviation: float


def model_pair(kind: str):
    """The reference with large random weights, and ours with the same."""
    import torch
    import transformers

    from deepseek_learn.lm import Config, LanguageModel

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **KINDS[kind])
    reference = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in reference.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    ours = LanguageModel(Config.from_reference(config.to_dict())).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    return reference, ours


def differences() -> Iterator[Difference]:
    """Two texts of 70 tokens, read whole, and in pieces with a cache."""
    import torch

    from deepseek_learn.lm import Cache

    ids = torch.randint(97, (2, 70))
    for kind in KINDS:
        reference, ours = model_pair(kind)
        expected, cache = reference(ids).logits, Cache(ours, 2, 70)
        pieces = ids.split([25, *[1] * 20, 25], 1)
        cached = torch.cat([ours(piece, cache) for piece in pieces], 1)
        for how, logits in (("read whole", ours(ids)), ("in pieces, cached", cached)):
            largest = (logits - expected).abs().max().item()
            deviation = expected.std().item()
            yield Difference(kind, how, largest, logits.numel(), deviation)
