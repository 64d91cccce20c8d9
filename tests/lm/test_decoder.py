"""The plain decoder: causal, equal with and without cache, clear errors for bad input."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn.lm.decoder import Decoder, KeyValueCache

SMALL = {"vocab": 11, "dim": 16, "layers": 2, "heads": 4, "context": 12}


def decoder(**options):
    torch.manual_seed(0)
    model = Decoder(**SMALL | options).double()
    for parameter in model.parameters():  # large weights: a mistake must show
        nn.init.normal_(parameter, std=0.3)
    return model


def tokens(batch=3, length=12):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(SMALL["vocab"], (batch, length), generator=generator)


def test_weights_begin_small_and_biases_at_zero():
    torch.manual_seed(0)
    parameters = dict(Decoder(**SMALL | {"dim": 64, "vocab": 100}).named_parameters())
    for name, parameter in parameters.items():
        if parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
        else:
            start = 0.0 if name.endswith("bias") else 1.0
            assert (parameter == start).all(), name


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 5], [4, 8], [12]])
def test_decoding_with_a_cache_equals_the_full_pass(pieces):
    model, cache = decoder(), KeyValueCache()
    steps = [model(piece, cache) for piece in tokens().split(pieces, 1)]
    torch.testing.assert_close(torch.cat(steps, 1), model(tokens()), rtol=0, atol=1e-12)
    assert len(cache) == 12
    assert {k.shape for pair in cache.pairs.values() for k in pair} == {(3, 4, 12, 4)}


@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_token_changes_nothing_before_it_and_something_from_it_on(at):
    model, changed = decoder(), tokens()
    changed[:, at] = (changed[:, at] + 1) % SMALL["vocab"]
    difference = (model(changed) - model(tokens())).abs().amax((0, 2))  # [T]
    assert (difference[:at] == 0).all()
    assert (difference[at:] > 0).all()


def written_out(model, x):
    """The same network with the attention's softmax and each head written out."""
    length, width = x.shape[1], model.token.embedding_dim
    future = torch.ones(length, length).triu(1).bool()
    y = model.token.weight[x] + model.position.weight[:length]
    for block in model.blocks:
        q, k, v = block.attention.qkv(block.norm_attention(y)).split(width, 2)
        size, heads = width // block.attention.heads, []
        for start in range(0, width, size):
            head = slice(start, start + size)
            scores = q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(size)
            weights = scores.masked_fill(future, -math.inf).softmax(2)
            heads.append(weights @ v[..., head])
        y = y + block.attention.out(torch.cat(heads, 2))
        y = y + block.down(block.activation(block.up(block.norm_mlp(y))))
    return F.layer_norm(y, (width,), model.norm.weight, model.norm.bias) @ (
        model.head.weight.T
    )


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_it_computes_what_the_formula_says(activation):
    model = decoder(activation=activation)
    expected = written_out(model, tokens())
    torch.testing.assert_close(model(tokens()), expected, rtol=0, atol=1e-12)


def test_activation_and_hidden_are_what_was_asked_for():
    assert isinstance(Decoder(**SMALL).blocks[0].activation, nn.ReLU)
    block = Decoder(**SMALL, hidden=24, activation="gelu").blocks[1]
    assert isinstance(block.activation, nn.GELU)
    assert block.up.weight.shape == (24, 16)
    assert Decoder(**SMALL).blocks[1].up.weight.shape == (64, 16)


def test_matrices_are_plain_linear_layers_and_the_head_is_untied():
    model = Decoder(**SMALL)
    linear = [n for n, m in model.named_modules() if type(m) is nn.Linear]
    layers = ("attention.qkv", "attention.out", "up", "down")
    assert set(linear) == {f"blocks.{i}.{n}" for i in (0, 1) for n in layers} | {"head"}
    assert model.head.bias is None
    assert model.head.weight is not model.token.weight


def test_every_parameter_learns():
    model = Decoder(**SMALL)
    x = tokens()
    F.cross_entropy(model(x).flatten(0, 1), x.flatten()).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (
            torch.zeros(1, 13).long(),
            r"^tokens must have a length from 1 to 12 .* got 13\.$",
        ),
        (
            torch.zeros(1, 0).long(),
            r"^tokens must have a length from 1 to 12 .* got 0\.$",
        ),
        (torch.zeros(1, 4), r"^tokens must be int64 .* torch\.float32 \[1, 4\]\.$"),
        (
            torch.zeros(1, 4).byte(),
            r"^tokens must be int64 .* torch\.uint8 \[1, 4\]\.$",
        ),
        (
            torch.zeros(4).long(),
            r"^tokens must be int64 with shape \[B, T\]; .* \[4\]\.$",
        ),
    ],
)
def test_bad_tokens_get_one_sentence(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        Decoder(**SMALL)(bad)


def test_a_full_cache_is_refused_and_left_as_it_was():
    model, cache = decoder(), KeyValueCache()
    model(tokens(length=10), cache)
    with pytest.raises(
        ValueError, match=r"1 to 2 .* is 12, and 10 tokens are in the cache"
    ):
        model(tokens(length=3), cache)
    assert len(cache) == 10
    assert model(tokens(length=2), cache).shape == (3, 2, 11)


def test_bad_arguments_get_one_sentence():
    with pytest.raises(
        ValueError, match=r"dim must be a multiple of heads; .* 10 and 4"
    ):
        Decoder(dim=10)
    with pytest.raises(ValueError, match="must be relu or gelu; got 'swish'"):
        Decoder(activation="swish")


def test_importing_the_package_is_light():
    code = "import sys, deepseek_learn.lm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
