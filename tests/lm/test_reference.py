"""Against the public reference: the same weights give the same logits and tokens."""

import dataclasses

import pytest
import torch
from transformers.modeling_layers import MtpModel

from deepseek_learn.lm import Cache, Config, LanguageModel, generate
from deepseek_learn.lm.config import COMPRESSED_SPARSE, SPARSE
from deepseek_learn.lm.sparse import best

from .references import (
    CASES,
    HYBRIDS,
    LATENT,
    VOCAB,
    ours,
    reference,
    scatter,
    tokens,
)

LIMIT = 5e-5  # of logits with a standard deviation of about 2


@pytest.fixture(scope="module", params=CASES)
def pair(request):
    model = reference(request.param)
    return model, ours(model)


@torch.no_grad()
def test_logits_are_the_reference_s(pair):
    reference, mine = pair
    ids = tokens(2, 70)
    expected = reference(ids).logits
    assert expected.std() > 1
    assert (mine(ids) - expected).abs().max() < LIMIT


@torch.no_grad()
def test_reading_in_pieces_with_a_cache_gives_the_same(pair):
    reference, mine = pair
    ids = tokens(2, 70)
    expected = reference(ids).logits
    cache = Cache(mine, 2, 70)
    pieces = [slice(0, 21), *(slice(t, t + 1) for t in range(21, 45)), slice(45, 70)]
    got = torch.cat([mine(ids[:, piece], cache) for piece in pieces], 1)
    assert (got - expected).abs().max() < LIMIT
    assert cache.lengths.tolist() == [70, 70]


@torch.no_grad()
def test_greedy_tokens_are_the_reference_s(pair):
    reference, mine = pair
    ids = tokens(1, 23, seed=3)
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = reference.generate(ids, max_new_tokens=40, **options)[0, 23:].tolist()
    assert generate(mine, ids.tolist(), max_new_tokens=40) == [expected]


@torch.no_grad()
def test_rows_of_different_lengths_are_as_each_alone(pair):
    _, mine = pair
    prompts = [tokens(n, seed=n).tolist() for n in (31, 5, 18)]
    together = generate(mine, prompts, max_new_tokens=30)
    assert together == [generate(mine, [p], max_new_tokens=30)[0] for p in prompts]


@pytest.mark.parametrize("attention", [SPARSE, COMPRESSED_SPARSE])
@torch.no_grad()
def test_scores_that_tie_at_zero_fall_alike_in_a_batch_and_alone(attention):
    """With one head of the indexer every other score is relu's 0."""
    torch.manual_seed(0)
    sizes = {"index_n_heads": 1, "index_topk": 8, "q_lora_rank": 20, "hidden_size": 48}
    sizes |= {"compress_rates": {COMPRESSED_SPARSE: 2}, "vocab_size": VOCAB}
    config = Config(layer_types=(attention,) * 2, num_hidden_layers=2, **sizes)
    mine = LanguageModel(config).eval()
    scatter(mine)
    prompts = [tokens(n, seed=n).tolist() for n in (200, 90, 143)]
    together = generate(mine, prompts, max_new_tokens=30)
    assert together == [generate(mine, [p], max_new_tokens=30)[0] for p in prompts]


def test_of_equal_scores_the_earlier_are_taken():
    scores = torch.zeros(2, 3, 500)
    scores[0, 1, 400], scores[1, 2, :7] = 1.0, -1.0
    expected = torch.arange(5).expand(2, 3, 5).clone()
    expected[0, 1] = torch.tensor([400, 0, 1, 2, 3])
    expected[1, 2] = torch.arange(7, 12)
    assert torch.equal(best(scores, 5), expected)
    assert best(scores[..., :3], 5).shape == (2, 3, 3)


@torch.no_grad()
def test_a_rejected_draft_leaves_no_trace(pair):
    """Three wrong tokens are read and rewound, at every phase of the windows."""
    _, mine = pair
    ids = tokens(1, 70)
    expected = mine(ids)
    cache = Cache(mine, 1, 73, ahead=3)
    got = []
    for t in range(70):
        mine(tokens(1, 3, seed=t), cache)
        cache.rewind(3)
        got.append(mine(ids[:, t : t + 1], cache))
    # each is within LIMIT of the reference
    assert (torch.cat(got, 1) - expected).abs().max() < 2 * LIMIT


@pytest.fixture(scope="module", params=HYBRIDS)
def hybrid(request):
    """Ours with V4's attention, and the inputs and outputs of the reference's layers."""
    theirs = reference(request.param)
    known = {each.name for each in dataclasses.fields(Config)}
    sizes = {k: v for k, v in theirs.config.to_dict().items() if k in known}
    sizes["qk_rope_head_dim"] = theirs.config.qk_rope_head_dim
    mine = LanguageModel(Config(**sizes)).eval()
    layers, ids = [], tokens(2, 70)
    for block, own in zip(theirs.model.layers, mine.model.layers, strict=True):
        own.self_attn.load_state_dict(block.self_attn.state_dict(), strict=True)
        block.self_attn.register_forward_hook(
            lambda module, args, kwargs, out: layers.append((args[0], out[0])),
            with_kwargs=True,
        )
    with torch.no_grad():
        theirs(ids)
    return mine, ids, layers


@torch.no_grad()
def test_hybrid_attention_is_the_reference_s(hybrid):
    mine, ids, layers = hybrid
    for block, (x, expected) in zip(mine.model.layers, layers, strict=True):
        assert expected.std() > 0.5
        assert (block.self_attn(x, mine.step(ids)) - expected).abs().max() < LIMIT


@torch.no_grad()
def test_hybrid_attention_in_pieces_gives_the_same(hybrid):
    """Pieces that end at every phase of the windows, after drafts that are rewound."""
    mine, ids, layers = hybrid
    pieces = [slice(0, 21), *(slice(t, t + 1) for t in range(21, 45)), slice(45, 70)]
    for block, (x, expected) in zip(mine.model.layers, layers, strict=True):
        cache, got = Cache(mine, 2, 73, ahead=3), []
        for piece in pieces:
            block.self_attn(torch.randn(2, 3, 48), mine.step(ids[:, :3], cache))
            cache.rewind(3)
            step = mine.step(ids[:, piece], cache)
            got.append(block.self_attn(x[:, piece], step))
        assert (torch.cat(got, 1) - expected).abs().max() < LIMIT


@torch.no_grad()
def test_multi_token_prediction_is_the_reference_s():
    theirs = reference("V3", num_mtp_layers=2)
    mtp = MtpModel(theirs, 2).eval()
    scatter(mtp.layers)
    sizes = theirs.config.to_dict() | {"num_nextn_predict_layers": 2}
    config = Config.from_reference(sizes)
    mine = LanguageModel(config).eval()
    names = {}
    for name, weight in mtp.layers.state_dict().items():
        depth, rest = name.split(".", 1)
        rest = rest.removeprefix("mtp_block.")
        rest = "shared_head.norm.weight" if rest == "post_norm.weight" else rest
        names[f"model.layers.{3 + int(depth)}.{rest}"] = weight
    mine.load_state_dict(theirs.state_dict() | names, strict=True)

    ids = tokens(1, 40)
    following, positions = ids.roll(-1, 1), torch.arange(40)[None]
    state = theirs.model(ids).last_hidden_state
    step = mine.step(ids)
    hidden = mine.hidden(step)
    for depth in range(2):
        shifted = following.roll(-depth, 1)
        state = mtp.forward_layer(depth, state, positions, None, input_ids=shifted)
        hidden = mine.ahead(hidden, shifted, depth, step)
        expected = theirs.lm_head(state)
        assert expected.std() > 1
        assert (mine.lm_head(hidden) - expected).abs().max() < LIMIT


def test_the_router_is_float32_in_a_bfloat16_model():
    """Scores too close for bfloat16 to distinguish still select the larger."""
    config = Config(hidden_size=4, n_routed_experts=4, num_experts_per_tok=1)
    router = LanguageModel(config).bfloat16().model.layers[1].mlp.gate
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.bfloat16)
    with torch.no_grad():
        router.weight.zero_()
        router.weight[1, 0] = router.weight[2, 0] = 2.0
        router.weight[2, 1] = 2**-9  # 2 + 2^-9 is 2 in bfloat16
    chosen, weights = router.eval()(x)
    assert chosen.item() == 2
    assert weights.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_bias_that_balances_is_float32_in_a_model_of_any_dtype(dtype):
    model = LanguageModel(Config(num_hidden_layers=2)).to(dtype)
    assert bias_of(model).dtype == torch.float32
    with torch.device("meta"):
        model = LanguageModel(Config(num_hidden_layers=2)).to(dtype)
    assert bias_of(model.to_empty(device="cpu")).dtype == torch.float32
    torch.set_default_dtype(dtype)
    try:
        model = LanguageModel(Config(num_hidden_layers=2))
    finally:
        torch.set_default_dtype(torch.float32)
    assert bias_of(model).dtype == torch.float32


def bias_of(model):
    return model.routers()[0].e_score_correction_bias


def test_the_bias_that_balances_moves_by_small_steps_in_a_bfloat16_model():
    model = LanguageModel(Config(num_hidden_layers=2))
    router = model.model.layers[1].mlp.gate
    router.e_score_correction_bias.fill_(1.003)  # 1 in bfloat16
    model.bfloat16().train()
    assert router.weight.dtype == torch.bfloat16
    model(torch.zeros(1, 8, dtype=torch.int64))  # the same experts for all of them
    model.balance(rate=1e-3)
    assert sorted({round(b, 3) for b in router.e_score_correction_bias.tolist()}) == [
        1.002,
        1.004,
    ]


def test_reference_sizes_are_read_whole():
    config = Config.from_reference(reference("V3").config.to_dict())
    for name, value in LATENT.items():
        if hasattr(config, name):
            assert getattr(config, name) == value
    assert config.vocab_size == VOCAB
