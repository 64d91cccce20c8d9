"""Generation: drafts change only the speed, options do what they say."""

import copy
import math

import numpy as np
import pytest
import torch

from deepseek_learn.dpg import backend
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.lm import Cache, Config, Decoding, LanguageModel, generate, stream
from deepseek_learn.lm.config import (
    COMPRESSED_SPARSE,
    HEAVILY_COMPRESSED,
    LATENT,
    SPARSE,
)
from deepseek_learn.lm.room import Room
from deepseek_learn.lm.sampling import probabilities
from deepseek_learn.lm.speculative import accepted

from .references import scatter

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "q_lora_rank": 16,
    "max_position_embeddings": 64,
    "sliding_window": 6,
    "compress_rates": {COMPRESSED_SPARSE: 2, HEAVILY_COMPRESSED: 5},
    "index_topk": 3,
    "num_nextn_predict_layers": 1,
}


def model(vocab=5, attention=LATENT, **changes):
    torch.manual_seed(0)
    options = SMALL | {"vocab_size": vocab, "layer_types": [attention] * 2} | changes
    made = LanguageModel(Config(**options)).eval()
    scatter(made)
    return made


PROMPTS = [[1, 2, 3, 4, 0, 1, 1], [3], [2, 2, 4]]
KINDS = [LATENT, SPARSE, COMPRESSED_SPARSE, HEAVILY_COMPRESSED]


@pytest.mark.parametrize("attention", KINDS)
def test_drafts_do_not_change_what_is_written(attention):
    """With five tokens, drafts are often right and often wrong, at each phase."""
    made = model(attention=attention)
    plain = generate(made, PROMPTS, max_new_tokens=50)
    steps = list(stream(made, PROMPTS, max_new_tokens=50, speculative=True))
    rows = zip(*steps, strict=True)
    assert [[token for new in row for token in new] for row in rows] == plain
    pace = {len(new) for news in steps for new in news}
    assert {1, 2} <= pace <= {0, 1, 2}
    assert len(steps) < 50


FAST = [LATENT, COMPRESSED_SPARSE, HEAVILY_COMPRESSED]


@pytest.mark.parametrize("attention", FAST)
def test_fast_decoding_writes_the_same(attention):
    if backend().name != "cpp":
        pytest.skip(f"the C++ kernel is not in use: {backend().reason}")
    made = model(attention=attention)
    for prompt in PROMPTS:
        for options in ({}, {"temperature": 1.0, "seed": 3}, {"stop": [2]}):
            plain = generate(made, [prompt], 50, **options)
            assert generate(made, [prompt], 50, fast=True, **options) == plain


def test_fast_decoding_says_what_it_cannot_do():
    made = model()
    for options in ({"speculative": True}, {}):
        prompts = PROMPTS if not options else PROMPTS[:1]
        with pytest.raises(ValueError, match="fast must be False"):
            generate(made, prompts, 9, fast=True, **options)
    with pytest.raises(DeepSeekLearnError, match="contains SparseAttention"):
        generate(model(attention=SPARSE), [[1]], 9, fast=True)


def test_drafts_do_not_change_the_distribution():
    """The frequencies of two tokens with drafts match the exact probabilities."""
    made = model(vocab=3)
    prompts, options = [[1, 0]] * 4000, {"temperature": 0.7, "seed": 0}
    written = generate(made, prompts, max_new_tokens=3, speculative=True, **options)
    with torch.no_grad():
        exact = torch.zeros(3, 3, 3)
        for i in range(9):
            a, b = i // 3, i % 3
            p = probabilities(made(torch.tensor([[1, 0, a, b]]))[0, 1:], 0.7)
            exact[a, b] = p[0, a] * p[1, b] * p[2]
    counts = torch.zeros(3, 3, 3)
    for row in written:
        counts[tuple(row)] += 1
    bound = 4.5 * (exact * (1 - exact) / 4000).sqrt() + 1e-6
    assert ((counts / 4000 - exact).abs() < bound).all()


def test_an_accepted_or_replaced_draft_is_distributed_as_the_model():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.rand(2, 6, generator=generator) ** 3).softmax(-1)
    rows, p_rows, q_rows = 40_000, p.expand(40_000, 6), q.expand(40_000, 6)
    guess = q_rows.multinomial(1, generator=generator)
    held = accepted(guess, q_rows, p_rows, generator)
    other = (p_rows - q_rows).clamp_min(0).multinomial(1, generator=generator)
    final = torch.where(held, guess, other).flatten().bincount(minlength=6) / rows
    assert ((final - p).abs() < 4.5 * (p * (1 - p) / rows).sqrt()).all()


def test_temperature_and_top_p():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert probabilities(logits, 0.0).tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(probabilities(logits), logits.exp())
    sharper = probabilities(logits, 0.5)
    torch.testing.assert_close(sharper, logits.exp() ** 2 / (logits.exp() ** 2).sum())
    torch.testing.assert_close(
        probabilities(logits, 1.0, 0.7), torch.tensor([0.625, 0.375, 0, 0])
    )
    assert probabilities(logits, 1.0, 1e-9).tolist() == [1, 0, 0, 0]


def test_a_temperature_near_zero_is_greedy():
    logits = torch.tensor([[1.0, 3.0, 2.9]])
    assert probabilities(logits, 1e-40).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("attention", [SPARSE, COMPRESSED_SPARSE])
def test_a_model_in_training_writes_learns_and_can_be_copied(attention):
    """Generating meanwhile neither counts nor trains; the loss leaves no graph."""
    made = model(attention=attention)
    expected = generate(made, [[1, 2, 3]], max_new_tokens=20)
    made.train()
    made(torch.tensor([[1, 2, 3, 4] * 8])).sum().backward()
    counted = [torch.as_tensor(router.load).tolist() for router in made.routers()]
    assert generate(made, [[1, 2, 3]], max_new_tokens=20) == expected
    after = [torch.as_tensor(router.load).tolist() for router in made.routers()]
    assert after == counted
    assert max(max(load) for load in counted[:1]) > 0
    made(torch.tensor([[1, 2, 3, 4] * 8]))
    assert made.index_loss().requires_grad
    assert made.index_loss() == 0
    copy.deepcopy(made)


def test_a_seed_repeats_and_another_differs():
    made = model(vocab=50)
    options = {"temperature": 1.0, "max_new_tokens": 20}
    first = generate(made, PROMPTS, seed=1, **options)
    assert first == generate(made, PROMPTS, seed=1, **options)
    assert first != generate(made, PROMPTS, seed=2, **options)


@pytest.mark.parametrize("speculative", [False, True])
def test_a_stop_token_ends_its_row_alone(speculative):
    made = model()
    whole = generate(made, PROMPTS, max_new_tokens=40)
    stop = whole[0][7]
    options = {"stop": [stop], "speculative": speculative}
    ended = generate(made, PROMPTS, max_new_tokens=40, **options)
    for row, short in zip(whole, ended, strict=True):
        end = row.index(stop) + 1 if stop in row else len(row)
        assert short == row[:end]


def test_streaming_gives_tokens_before_all_are_written():
    news = stream(model(), [[1]], max_new_tokens=60)
    assert len(next(news)[0]) == 1
    assert len(next(news)[0]) == 1


def test_a_sequence_may_fill_the_context_and_no_more():
    made = model()
    for speculative in (False, True):
        options = {"max_new_tokens": 61, "speculative": speculative}
        assert len(generate(made, [[1, 2, 3]], **options)[0]) == 61
    with pytest.raises(ValueError, match="max_new_tokens must be from 1 to 61; got 62"):
        generate(made, [[1, 2, 3]], max_new_tokens=62)


@pytest.mark.parametrize(
    ("prompts", "options", "said"),
    [
        ([], {}, "prompts must contain at least one"),
        ([[1], []], {}, r"one or more tokens, each from 0 to 4; prompt 1 has none"),
        ([[1, 5]], {}, r"each from 0 to 4; prompt 0 has \[5\]"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens must be from 1 to 63; got 0"),
        ([[1] * 64], {}, "prompts must be shorter than 64 tokens; got 64"),
        ([[1]], {"temperature": -1}, "temperature must be 0 or more, .*; got -1"),
        ([[1]], {"temperature": math.inf}, "temperature must be .* finite; got inf"),
        ([[1]], {"temperature": math.nan}, "temperature must be .* finite; got nan"),
        ([[1]], {"seed": 2**64}, "seed must be from .*, or None; got 18446744073709"),
        ([[1]], {"seed": -(2**63) - 1}, "seed must be from .*, or None; got -9223372"),
        ([[1]], {"top_p": 1.01}, "top_p must be above 0 and at most 1; got 1.01"),
        ([[1]], {"top_p": 0}, "top_p must be above 0 and at most 1; got 0"),
    ],
)
def test_what_is_refused(prompts, options, said):
    with pytest.raises(ValueError, match=said):
        generate(model(), prompts, **options)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([1, 2], r"each a list of tokens .* \[tokens\].*; got 1 in it"),
        (torch.tensor([1, 2]), "got 1 in it"),
        (3, "got 3 in it"),
        ("text", "a text has to be encoded first.*; got 'text' in it"),
        (["text"], "got 'text' in it"),
        ([["a"]], "got 'a' in it"),
        ([b"bytes"], "got b'bytes' in it"),
        ([[1, 1.0]], "got 1.0 in it"),
        ([torch.tensor([1.0])], "got 1.0 in it"),
        ([[[1]]], r"got \[1\] in it"),
        ([None], "got None in it"),
    ],
)
def test_prompts_of_another_type_get_a_sentence(prompts, said):
    for write in (generate, lambda *args: next(stream(*args))):
        with pytest.raises(
            TypeError, match="^prompts must be a list of prompts.*" + said
        ):
            write(model(), prompts)


@pytest.mark.parametrize("stop", [3, "3", [None], [1.0]])
def test_a_stop_of_another_type_gets_a_sentence(stop):
    with pytest.raises(TypeError, match="stop must be a list of tokens; got "):
        generate(model(), [[1]], stop=stop)


def test_tokens_may_come_in_every_kind_of_sequence():
    made = model()
    expected = generate(made, [[1, 2], [3, 4]], 20, stop=[0])
    assert any(row[-1] == 0 and len(row) < 20 for row in expected)
    for prompts in (
        torch.tensor([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]]),
        [torch.tensor([1, 2]), np.array([3, 4])],
        ((1, 2), [torch.tensor(3), np.int64(4)]),
        (iter(prompt) for prompt in [[1, 2], [3, 4]]),
        {"a": [1, 2], "b": [3, 4]}.values(),
    ):
        assert generate(made, prompts, 20, stop=iter([4, 0][1:])) == expected


def test_the_cache_is_in_float32_by_default(monkeypatch):
    made = model()
    default, single = Decoding(made, 9), Decoding(made, 9, torch.float32)
    assert default.bytes() == single.bytes() > Decoding(made, 9, torch.bfloat16).bytes()
    used = []
    monkeypatch.setattr(
        "deepseek_learn.lm.decoding.Room",
        lambda size, capacity, dtype: used.append(dtype) or Room(size, capacity, dtype),
    )
    generate(made, [[1, 2]], 3, fast=True)
    assert used == [torch.float32]


@pytest.mark.parametrize("seed", [-(2**63), 2**64 - 1])
def test_the_seeds_at_both_ends(seed):
    assert len(generate(model(), [[1]], 4, temperature=1.0, seed=seed)[0]) == 4


def test_the_first_draft_reads_each_prompt_one_token_on(monkeypatch):
    made, read = model(), []
    ahead = type(made).ahead

    def watched(self, hidden, following, depth, step):
        read.append(following.tolist())
        return ahead(self, hidden, following, depth, step)

    monkeypatch.setattr(type(made), "ahead", watched)
    first = [row[0] for row in generate(made, [[1, 2, 3], [4, 2]], 9, speculative=True)]
    assert read[0][0] == [2, 3, first[0]]
    assert read[0][1][:2] == [2, first[1]]


def test_drafts_need_a_block_for_them():
    with pytest.raises(ValueError, match="speculative must be False for a model"):
        generate(model(num_nextn_predict_layers=0), [[1]], 9, speculative=True)


def test_logits_that_are_not_finite_are_refused():
    made = model()
    with torch.no_grad():
        made.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="logits must be finite; got NaN"):
        generate(made, [[1]], 9)


def test_a_cache_is_of_one_model_and_one_batch():
    made, other = model(), model()
    cache = Cache(made, 2, 10)
    with pytest.raises(ValueError, match="cache must belong to this model"):
        other(torch.ones(2, 3, dtype=torch.int64), cache)
    with pytest.raises(
        ValueError, match="ids must have 2 rows, as many as the cache; got 3"
    ):
        made(torch.ones(3, 3, dtype=torch.int64), cache)
    made(torch.ones(2, 8, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match="10 tokens; got 3 new tokens after 8 cached"):
        made(torch.ones(2, 3, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match=r"from 1 to .*\(64\); got 65"):
        Cache(made, 1, 65)


@pytest.mark.parametrize(
    "ids", [torch.ones(3, dtype=torch.int64), torch.ones(1, 3), torch.ones(2, 0).long()]
)
def test_tokens_of_another_shape_or_dtype_are_refused(ids):
    with pytest.raises(ValueError, match="ids must be int64"):
        model()(ids)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("attention", KINDS)
def test_a_gpu_writes_the_same(attention):
    made = model(attention=attention)
    here = generate(made, PROMPTS, 50, speculative=True)
    assert generate(made.cuda(), PROMPTS, 50, speculative=True) == here
