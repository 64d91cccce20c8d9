"""What is cached per token: its size by formula, its slot by position."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepseek_learn.lm import Cache, Config, LanguageModel
from deepseek_learn.lm.cache import RingBuffer
from deepseek_learn.lm.config import (
    COMPRESSED_SPARSE,
    HEAVILY_COMPRESSED,
    LATENT,
    SLIDING,
    SPARSE,
)

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "head_dim": 16,
    "index_head_dim": 16,
    "max_position_embeddings": 400,
}


def slots_of(attention, capacity=400):
    """Numbers cached by one layer with a capacity of `capacity` tokens."""
    model = LanguageModel(Config(layer_types=(attention,), **SIZES))
    cache = Cache(model, 1, capacity)
    model(torch.zeros(1, 70, dtype=torch.int64), cache)
    return cache.bytes() / 4


@pytest.mark.parametrize(
    ("attention", "per_token"), [(LATENT, 24 + 8), (SPARSE, 24 + 8 + 16)]
)
def test_a_token_takes_a_latent_and_a_rotary_key(attention, per_token):
    grown = slots_of(attention) - slots_of(attention, 100)
    assert grown == 300 * per_token


@pytest.mark.parametrize(
    ("attention", "per_token"),
    [(SLIDING, 0), (COMPRESSED_SPARSE, (16 + 16) / 4), (HEAVILY_COMPRESSED, 16 / 32)],
)
def test_hybrid_attention_keeps_entries_and_a_window_that_does_not_grow(
    attention, per_token
):
    grown = slots_of(attention, 384) - slots_of(attention, 96)
    assert grown == 288 * per_token


def test_slots_hold_the_last_lap():
    buffer = RingBuffer(torch.zeros(2, 1, 1), 5)
    positions = torch.arange(8).expand(2, -1)
    real = positions < torch.tensor([[8], [3]])
    buffer.put(positions, positions[..., None].float() + 1, real)
    held = buffer.held(torch.tensor([[8], [3]]))
    assert held.tolist() == [[5, 6, 7, 3, 4], [0, 1, 2, -2, -1]]
    assert buffer.values[0, :5, 0].tolist() == [6, 7, 8, 4, 5]
    assert buffer.values[1, :3, 0].tolist() == [1, 2, 3]


def test_a_window_of_one_keeps_the_last_of_the_real_tokens():
    buffer = RingBuffer(torch.zeros(3, 1, 1), 1)
    positions = torch.arange(3).expand(3, -1)
    real = positions < torch.tensor([[1], [3], [0]])
    buffer.put(positions, positions[..., None].float() + 1, real)
    assert buffer.values[:, 0, 0].tolist() == [1, 3, 0]


def test_a_cache_of_one_token_and_of_the_longest_text():
    model = LanguageModel(Config(layer_types=(SLIDING,), **SIZES))
    most = model.config.max_position_embeddings
    assert [Cache(model, 1, size).capacity for size in (1, most)] == [1, most]
    for size in (0, most + 1):
        with pytest.raises(ValueError, match=rf"capacity must be from 1 .*got {size}"):
            Cache(model, 1, size)


def test_rows_that_ended_are_let_go():
    model = LanguageModel(Config(layer_types=(COMPRESSED_SPARSE,), **SIZES)).eval()
    ids = torch.randint(256, (3, 40))
    cache = Cache(model, 3, 50)
    with torch.no_grad():
        model(ids[:, :37], cache)
        cache.keep(torch.tensor([2, 0]))
        got = model(ids[[2, 0], 37:], cache)
        expected = model(ids[[2, 0]])[:, 37:]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_more_than_was_foreseen_is_not_taken_back():
    model = LanguageModel(Config(layer_types=(SLIDING,), **SIZES))
    cache = Cache(model, 1, 20, ahead=2)
    model(torch.zeros(1, 9, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match=r"0 to \[2\] \(ahead=2\); got 3"):
        cache.rewind(3)
    cache.rewind(2)
    assert cache.lengths.tolist() == [7]


@pytest.mark.parametrize(
    "tokens", [-1, 0.5, True, torch.tensor([1, -1]), torch.tensor([0, 1, 0]), [[1, 1]]]
)
def test_what_is_no_number_of_tokens_is_not_taken_back(tokens):
    cache = Cache(LanguageModel(Config(layer_types=(SLIDING,), **SIZES)), 2, 20)
    cache.model(torch.zeros(2, 9, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match="tokens must be a whole number, or one per"):
        cache.rewind(torch.tensor(tokens) if isinstance(tokens, list) else tokens)
    assert cache.lengths.tolist() == [9, 9]


def test_nothing_is_taken_back_of_what_was_not_read():
    cache = Cache(LanguageModel(Config(**SIZES)), 2, 20, ahead=5)
    cache.model(torch.zeros(2, 3).long(), cache, torch.tensor([3, 1]))
    with pytest.raises(ValueError, match=r"0 to \[3, 1\] \(ahead=5\); got 2"):
        cache.rewind(2)
    cache.rewind(torch.tensor([3, 1]))
    assert cache.lengths.tolist() == [0, 0]


@pytest.mark.parametrize("attention", [SLIDING, COMPRESSED_SPARSE])
def test_what_was_written_over_is_not_taken_back_in_two_steps(attention):
    """The longest length of each row bounds it, whatever was rewound before."""
    torch.manual_seed(0)
    model = LanguageModel(Config(layer_types=(attention,), **SIZES)).eval()
    ids, cache = torch.randint(256, (2, 200)), Cache(model, 2, 210, ahead=3)
    with torch.no_grad():
        model(ids[:, :193], cache)
        cache.rewind(torch.tensor([2, 3]))
        with pytest.raises(ValueError, match=r"0 to \[1, 0\] \(ahead=3\); got 2"):
            cache.rewind(2)
        cache.rewind(torch.tensor([1, 0]))
        model(ids[:, 190:191], cache)  # still two below the longest
        with pytest.raises(ValueError, match=r"0 to \[1, 1\] \(ahead=3\); got 3"):
            cache.rewind(3)
        cache.keep(torch.tensor([1]))
        with pytest.raises(ValueError, match=r"0 to \[1\] \(ahead=3\); got 2"):
            cache.rewind(2)
        cache.rewind(1)
        got = model(ids[1:, 190:], cache)
        expected = model(ids[1:])[:, 190:]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("options", "ahead"), [({}, 1), ({"ahead": 0}, 0)])
def test_one_token_is_taken_back_unless_more_or_none_were_foreseen(options, ahead):
    cache = Cache(
        LanguageModel(Config(layer_types=(SLIDING,), **SIZES)), 1, 20, **options
    )
    cache.model(torch.zeros(1, 9, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match=rf"0 to \[{ahead}\] \(ahead={ahead}\); got"):
        cache.rewind(ahead + 1)
    cache.rewind(ahead)
    assert cache.lengths.tolist() == [9 - ahead]


def test_room_for_fewer_than_no_drafts_is_refused():
    with pytest.raises(ValueError, match="ahead must be at least 0; got -1"):
        Cache(LanguageModel(Config(**SIZES)), 1, 20, ahead=-1)


@pytest.mark.parametrize("lengths", [[10, 12], [-1, 3], [5]])
def test_lengths_past_the_tokens_are_refused(lengths):
    model = LanguageModel(Config(layer_types=(SLIDING,), **SIZES))
    cache = Cache(model, 2, 20)
    with pytest.raises(
        ValueError, match=r"lengths must have shape \[B\] .* 0 to 10; got"
    ):
        model(torch.zeros(2, 10).long(), cache, torch.tensor(lengths))
    assert cache.lengths.tolist() == [0, 0]


class Largest(TorchDispatchMode):
    """The size of the largest tensor that an operation returned."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


def test_a_long_text_read_whole_needs_no_square_of_its_length():
    sizes = SIZES | {"max_position_embeddings": 2000, "vocab_size": 64}
    sizes |= {"kv_lora_rank": 64}  # larger than half a head: expanding is cheaper
    model = LanguageModel(Config(**sizes, num_attention_heads=2)).eval()
    with torch.inference_mode(), Largest() as largest:
        model(torch.zeros(1, 2000, dtype=torch.int64))
    assert largest.numbers < 2000**2 / 2
