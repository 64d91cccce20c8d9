"""The parts of latent and sparse attention, each against its formula in float64."""

import math

import pytest
import torch

from deepseek_learn.lm import Config
from deepseek_learn.lm.cache import Step
from deepseek_learn.lm.latent import (
    Indexer,
    LatentAttention,
    RMSNorm,
    TokenIndexer,
    attention,
    best,
    index_scores,
)
from deepseek_learn.lm.rotary import angles

CONFIG = Config(q_lora_rank=24)  # rank 64, heads of 32 + 16 and of 32


def step_of(batch: int, tokens: int) -> Step:
    positions = torch.arange(tokens).expand(batch, -1)
    rotary = {"main": angles(positions, 16, CONFIG.rope("main"))}
    return Step(positions, positions, positions >= 0, rotary)


def test_norm_divides_by_the_root_mean_square():
    x = torch.randn(3, 8, dtype=torch.float64)
    norm = RMSNorm(8, eps=0.1).double()
    torch.nn.init.normal_(norm.weight)
    expected = x / (x.square().mean(1, keepdim=True) + 0.1).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    layer = LatentAttention(CONFIG, 0)  # the reference's, whatever rms_norm_eps is
    assert layer.q_a_layernorm.eps == layer.kv_a_layernorm.eps == 1e-6


@pytest.mark.parametrize("sinks", [None, [0.5, -1.0]])
def test_weights_are_a_softmax_over_what_may_be_seen(sinks):
    torch.manual_seed(0)
    q, keys = torch.randn(2, 3, 2, 5).double(), torch.randn(2, 4, 5).double()
    mask = torch.arange(4) <= torch.tensor([[0, 1, 3], [1, 2, 3]])[..., None]
    expected = torch.zeros(2, 3, 2, 4).double()
    for b in range(2):
        for t in range(3):
            for h in range(2):
                size = (keys[b] @ q[b, t, h] * 0.3).exp() * mask[b, t]
                nothing = math.exp(sinks[h]) if sinks else 0
                expected[b, t, h] = size / (size.sum() + nothing)
    sinks = torch.tensor(sinks) if sinks else None
    result = attention(q, keys, mask, 0.3, sinks)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)  # in float32


@pytest.mark.parametrize(("new", "seen"), [(4, 4), (1, 6), (3, 6)])
def test_both_ways_to_read_agree_and_are_the_formula(new, seen):
    torch.manual_seed(0)
    layer = LatentAttention(CONFIG, 0).double()
    nope, rope = (
        torch.randn(2, new, 4, 32).double(),
        torch.randn(2, new, 4, 16).double(),
    )
    kept = torch.randn(2, seen, 64 + 16).double()
    mask = torch.arange(seen) <= torch.arange(seen - new, seen)[:, None]
    mask = mask.expand(2, -1, -1)
    up = layer.kv_b_proj.weight.view(4, 64, 64)  # heads, nope + v, rank
    keys = torch.einsum("hnr,bsr->bshn", up[:, :32], kept[..., :64])
    values = torch.einsum("hvr,bsr->bshv", up[:, 32:], kept[..., :64])
    scores = torch.einsum("bthn,bshn->bths", nope, keys)
    scores = (scores + torch.einsum("bthr,bsr->bths", rope, kept[..., 64:])) / 48**0.5
    weights = scores.masked_fill(~mask[:, :, None], -math.inf).softmax(-1)
    expected = torch.einsum("bths,bshv->bthv", weights, values)
    torch.testing.assert_close(layer.read_expanded(nope, rope, kept, mask), expected)
    if new == seen:
        result = layer.read_expanded(nope, rope, kept, None)
        torch.testing.assert_close(result, expected)
    result = layer.read_latents(nope, rope, kept, mask)  # its softmax is in float32
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("new", "seen", "absorbs"),
    [
        *[(1, 1, False), (1, 2, True), (1, 500, True), (64, 64, False)],
        *[(500, 500, False), (32, 64, False), (32, 65, True)],
        *[(63, 4032, False), (63, 4033, True)],
    ],
)
def test_the_way_with_fewer_multiplications_is_taken(new, seen, absorbs):
    """By hand, for one head: 64 x 64 to expand a key and a value or to absorb a query,
    32 + 32 to score and read one token's, 64 + 64 where that is a latent.
    """
    expand = seen * 64 * 64 + new * seen * 64
    absorb = new * 64 * 64 + new * seen * 128
    assert (absorb < expand) == absorbs
    x, kept = torch.zeros(1, new, 1), torch.zeros(1, seen, 1)
    assert LatentAttention(CONFIG, 0).absorbs(x, kept) == absorbs


def test_the_scale_is_that_of_whole_heads_and_of_yarns_temperature():
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 40.0}
    rope = {"rope_theta": 1e4, "factor": 40.0, "mscale_all_dim": 0.5}
    plain = 48**-0.5
    for parameters, scale in (
        (rope, plain),
        (yarn, plain),
        (rope | yarn, plain * (0.05 * math.log(40) + 1) ** 2),
    ):
        config = Config(rope_parameters=parameters)
        assert LatentAttention(config, 0).scale == pytest.approx(scale, rel=1e-12)


def test_index_scores_are_the_formula():
    torch.manual_seed(0)
    q, k, w = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 5), torch.randn(2, 3, 4)
    products = torch.einsum("bthd,bsd->bths", q.double(), k.double()).clamp_min(0)
    expected = torch.einsum("bths,bth->bts", products, w.double()) / (5 * 4) ** 0.5
    result = index_scores(q, k, w)
    torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=1e-5)


def test_of_equal_scores_the_earlier_are_the_best():
    scores = torch.tensor([[0.0, 2.0, 0.0, -1.0, 0.0, 3.0]])
    assert best(scores, 4).tolist() == [[5, 1, 0, 2]]
    assert best(scores, 9).tolist() == [[5, 1, 0, 2, 4, 3]]
    assert best(torch.zeros(1, 300), 7).tolist() == [[*range(7)]]


def test_the_loss_of_an_indexer_is_the_divergence_per_token():
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 5, requires_grad=True)
    weights = torch.rand(2, 3, 4, 5)
    chosen = torch.tensor([True, True, False, True, True]).expand(2, 3, -1)
    weights = weights * chosen[:, :, None]
    learner = Indexer().train()
    learner.keep(scores)
    learner.learn(weights, chosen)
    p = weights.double().sum(2)
    p = p / p.sum(-1, keepdim=True)
    own = scores.detach().double()[..., [0, 1, 3, 4]].log_softmax(-1)
    p = p[..., [0, 1, 3, 4]]
    expected = (p * (p.log() - own)).sum() / 6
    assert learner.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    learner.loss.backward()
    assert scores.grad[..., 2].abs().max() == 0  # not selected
    assert learner.scores is None
    learner.keep(scores)
    assert learner.loss == 0
    learner.eval().keep(scores)
    assert learner.scores is None


def test_an_indexer_turns_the_first_channels_in_halves():
    torch.manual_seed(0)
    indexer = TokenIndexer(CONFIG, 0).eval()
    x, latent, step = torch.randn(1, 7, 128), torch.randn(1, 7, 24), step_of(1, 7)
    cos, sin = step.rotary["main"]  # [1, 7, 8]

    def turned(y):  # [1, 7, ..., 32]: channel i with i + 8, the last 16 as they are
        c, s = (t.view(1, 7, *(1,) * (y.dim() - 3), 8) for t in (cos, sin))
        a, b, rest = y.split([8, 8, 16], -1)
        return torch.cat([a * c - b * s, b * c + a * s, rest], -1)

    q = turned(indexer.wq_b(latent).view(1, 7, 8, 32))
    k = turned(indexer.k_norm(indexer.wk(x)))
    torch.testing.assert_close(
        indexer._turn(indexer.wk(x), step), turned(indexer.wk(x))
    )
    scores = index_scores(q, k, indexer.weights_proj(x))
    scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), -math.inf)
    expected = scores.sort(dim=-1, descending=True, stable=True).indices
    assert torch.equal(indexer(x, latent, step), expected)
