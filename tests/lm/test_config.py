"""Incompatible sizes are rejected; a custom attention is used by its name."""

import pytest
import torch
from torch import nn

from deepseek_learn.errors import UnknownNameError
from deepseek_learn.lm import Config, LanguageModel, attentions, config, generate


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (
            {"n_group": 3},
            "n_routed_experts must be a multiple of n_group; got 16 and 3",
        ),
        (
            {
                "layer_types": ("sliding_attention",) * 4,
                "q_lora_rank": 8,
                "o_groups": 0,
            },
            "num_attention_heads must be a multiple of o_groups; got 4",
        ),
        (
            {
                "layer_types": ("latent_attention",) * 3 + ("sliding_attention",),
                "num_attention_heads": 5,
                "q_lora_rank": 8,
            },
            "num_attention_heads must be a multiple of o_groups; got 5 and 2",
        ),
        (
            {"first_k_dense_replace": 4, "num_nextn_predict_layers": 1, "n_group": 3},
            "n_routed_experts must be a multiple of n_group; got 16 and 3",
        ),
        ({"qk_rope_head_dim": 9}, "qk_rope_head_dim must be a multiple of 2; got 9"),
        ({"topk_group": 2}, "topk_group must be from 1 to 1; got 2"),
        (
            {"topk_method": "noaux"},
            "topk_method must be one of noaux_tc, .*; got 'noaux'",
        ),
        (
            {"num_experts_per_tok": 17},
            "num_experts_per_tok must be from 1 to 16; got 17",
        ),
        ({"layer_types": ("latent_attention",)}, "num_hidden_layers=4 layers"),
        (
            {"layer_types": ("sparse_attention",) * 4},
            "q_lora_rank must be set for sparse_attention; got None",
        ),
        (
            {
                "layer_types": ("sliding_attention",) * 4,
                "q_lora_rank": 8,
                "head_dim": 8,
            },
            "qk_rope_head_dim must be from 1 to 8; got 16",
        ),
    ],
)
def test_sizes_that_do_not_fit(sizes, said):
    with pytest.raises(ValueError, match=said):
        Config(**sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_attention_heads": 5},
        {"o_groups": 0},
        {"first_k_dense_replace": 4, "n_group": 3},
        {"first_k_dense_replace": 4, "n_group": 0},
        {"first_k_dense_replace": 4, "num_experts_per_tok": 17},
    ],
)
def test_a_size_that_no_layer_reads_is_not_looked_at(sizes):
    model = LanguageModel(Config(**sizes))
    assert model(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 256)


def test_an_attention_that_is_not_known_is_named():
    with pytest.raises(
        UnknownNameError, match="'mine' is not known; the known names are: compr"
    ):
        LanguageModel(Config(layer_types=("mine",) * 4))


def test_an_attention_of_one_s_own():
    @attentions.register("mean_of_the_past")
    class Mean(nn.Module):
        def __init__(self, config, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x, step):
            if step.cache is not None:
                x = step.cache.append(self.layer, "seen", x, step)
            seen = step.causal(x.shape[1]).float()
            return seen / seen.sum(-1, keepdim=True) @ x

    try:
        torch.manual_seed(0)
        kinds = ("mean_of_the_past", "latent_attention")
        model = LanguageModel(Config(num_hidden_layers=2, layer_types=kinds)).eval()
        (whole,) = generate(model, [[1, 2, 3]], 9)
        with torch.no_grad():
            again = model(torch.tensor([[1, 2, 3, *whole]]))[0, 2:-1].argmax(-1)
        assert again.tolist() == whole
    finally:
        attentions.unregister("mean_of_the_past")


@pytest.mark.parametrize("kind", ["sparse_attention", "compressed_sparse_attention"])
def test_an_indexer_learns_from_the_attention_it_serves_and_teaches_nobody(kind):
    """Its loss falls by its own weights alone, which the language loss never moves."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "q_lora_rank": 32, "index_topk": 4}
    sizes |= {"compress_rates": {"compressed_sparse_attention": 2}}
    model = LanguageModel(Config(layer_types=(kind,), **sizes))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.2)
    own = {n: p for n, p in model.named_parameters() if ".indexer." in n}
    rest = [p for n, p in model.named_parameters() if n not in own]
    ids = torch.randint(256, (4, 40), generator=torch.Generator().manual_seed(1))
    model(ids).square().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in own.values())
    model.zero_grad()
    optimizer = torch.optim.Adam(own.values(), lr=1e-2)
    losses = []
    for _ in range(40):
        model(ids)
        loss = model.index_loss()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or not p.grad.any() for p in rest)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_what_a_v3_file_means_without_saying_it_is_the_references():
    reference = pytest.importorskip("transformers").DeepseekV3Config()
    assert config.V3["routed_scaling_factor"] == reference.routed_scaling_factor
