"""Every pass starts from the same state, and the user's state is restored afterwards."""

import collections
import inspect
import itertools
import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn import zoo
from deepseek_learn.lm import Cache
from deepseek_learn.profiler import UnsteadyModelError, profile

X = torch.ones(2, 4)
ONE = 2 * 4 * 4  # FLOPs of one row through `Lin.layer`


def plain(model, example=X, **options):
    return profile(model, example, repeats=3, progress=False, **options)


class Lin(nn.Module):
    """A linear layer of `width` 4, applied to `rows(x)`."""

    def __init__(self, **attributes):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        for name, value in attributes.items():
            setattr(self, name, value)

    def rows(self, x):
        return x

    def forward(self, x, *more):
        return self.layer(self.rows(x, *more))


class Keeps(Lin):
    def rows(self, x):
        self.h = torch.cat([self.h, x])
        return self.h


@pytest.mark.parametrize("train", [False, True])
def test_an_attribute_that_grows_starts_alike_in_each_pass(train):
    model = Keeps(h=torch.zeros(1, 4))
    before = model.h
    result = plain(model, train=train)
    assert result.flops == (2 if train else 1) * 3 * ONE
    assert set(result.operators.query("operator == 'cat'")["output_shape"]) == {
        "[3, 4]"
    }
    assert model.h is before
    assert torch.equal(before, torch.zeros(1, 4))


def python(model, x):
    return x.repeat(random.randint(1, 99), 1)


def numpy_global(model, x):
    return x.repeat(np.random.randint(1, 99), 1)  # noqa: NPY002


def numpy_own(model, x):
    return x.repeat(int(model.numpy_generator.integers(1, 99)), 1)


def python_own(model, x):
    return x.repeat(model.python_generator.randint(1, 99), 1)


def torch_own(model, x):
    return x.repeat(torch.randint(1, 99, (), generator=model.generator).item(), 1)


@pytest.mark.parametrize(
    "draw", [python, numpy_global, numpy_own, python_own, torch_own]
)
def test_every_kind_of_chance_is_the_same_in_each_pass_and_goes_on_as_before(draw):
    model = Lin(
        numpy_generator=np.random.default_rng(0),
        python_generator=random.Random(0),
        generator=torch.Generator().manual_seed(0),
    )
    model.rows = draw.__get__(model)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = len(model.rows(X))
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    model.numpy_generator = np.random.default_rng(0)
    model.python_generator.seed(0)
    model.generator.manual_seed(0)
    assert plain(model).flops == one * ONE
    assert len(model.rows(X)) == one


class Counts(Lin):
    """Writes to everything that a call can change, once each."""

    calls = 0

    def rows(self, x):
        type(self).calls += 1
        self.number += 1
        self.items.append(self.number)
        self.table.move_to_end("old")
        self.table["new"] = self.number
        self.values += 1
        self.names.add(self.number)
        self.queue.append(self.number)
        self.data[0] += 1
        self.slots.count += 1
        self.layer.weight.mark = self.number
        self.made = torch.zeros(3)
        self.register_buffer("late", torch.zeros(2))
        self.add_module("added", nn.Identity())
        self.items.append(self.layer.register_forward_hook(lambda *given: None))
        self.train()
        return x.repeat(len(self.queue), 1)


class Slots:
    __slots__ = ("count",)


def test_whatever_a_call_writes_to_is_put_back():
    slots = Slots()
    slots.count = 3
    model = Counts(
        number=5, items=[1], table=collections.OrderedDict(old=1, other=2),
        values=np.zeros(2), names={1}, queue=collections.deque([8], maxlen=9),
        data=bytearray(b"ab"), slots=slots,
    ).eval()  # fmt: skip
    attributes = set(vars(model))
    result = plain(model)
    assert result.flops == 2 * 2 * ONE  # of the first call: two in the queue, X has two
    assert (Counts.calls, model.number, model.items, slots.count) == (0, 5, [1], 3)
    assert list(model.table.items()) == [("old", 1), ("other", 2)]
    assert (model.names, list(model.queue), model.data) == ({1}, [8], b"ab")
    assert model.values.tolist() == [0, 0]
    assert not hasattr(model.layer.weight, "mark")
    assert set(vars(model)) == attributes
    assert list(model._modules) == ["layer"]
    assert not model._buffers
    assert not model.layer._forward_hooks
    assert not model.training


N = 0
KEPT = {}


class Globals(Lin):
    def rows(self, x):
        global N
        N += 1
        KEPT[N] = x
        return x.repeat(len(KEPT), 1)


def test_globals_that_the_models_own_code_names_are_put_back():
    assert plain(Globals()).flops == 2 * ONE
    assert (N, KEPT) == (0, {})


def test_what_a_closure_holds_is_put_back():
    count, log = 0, []
    model = Lin()

    def rows(x):
        nonlocal count
        count += 1
        log.append(count)
        return x.repeat(count, 1)

    model.rows = rows
    assert plain(model).flops == 2 * ONE
    assert (count, log) == (0, [])


class Writes(Lin):
    """Writes its parameters, like a norm constraint: one in place, one replaced."""

    def rows(self, x):
        with torch.no_grad():
            self.layer.weight.renorm_(2, 0, 0.1)
        self.layer.bias.data = self.layer.bias.data * 0.5
        return x


@pytest.mark.parametrize("train", [False, True])
def test_parameters_that_a_pass_writes_to_are_as_they_were(train):
    model = Writes()
    before = [p.detach().clone() for p in model.parameters()]
    places = [p.data_ptr() for p in model.parameters()]
    plain(model, train=train)
    after = [p.detach() for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [p.data_ptr() for p in model.parameters()] == places
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


class Trains(Lin):
    """Trains itself in each call with its own optimizer."""

    def forward(self, x):
        with torch.enable_grad():
            self.layer(x).sum().backward()
        self.optimizer.step()
        return self.layer(x)


def test_a_model_that_trains_in_its_forward_pass_stays_untrained():
    model = Trains()
    model.optimizer = torch.optim.Adam(model.parameters())
    before = model.layer.weight.detach().clone()
    plain(model)
    assert torch.equal(model.layer.weight, before)
    assert model.layer.weight.grad is None
    assert not model.optimizer.state


def test_the_gradients_of_a_loss_with_weights_are_as_they_were():
    head = nn.Linear(4, 1)
    head.weight.grad = before = torch.ones(1, 4)
    plain(Lin(), train=True, loss=lambda y: head(y).sum())
    assert head.weight.grad is before
    assert torch.equal(before, torch.ones(1, 4))
    assert head.bias.grad is None


def test_a_plain_input_that_becomes_part_of_a_graph_is_plain_again():
    model = Lin()
    model.forward = lambda x: x.mul_(model.layer.bias)
    x = torch.ones(2, 4)
    plain(model, x, train=True)
    assert x.is_leaf
    assert not x.requires_grad
    assert torch.equal(x, X)


def test_a_graph_from_before_is_refused_and_stays_usable():
    weight = torch.ones(4, requires_grad=True)
    x = X * weight * weight
    for model, example in ((Lin(), x), (Keeps(h=x), X)):
        with pytest.raises(UnsteadyModelError, match=r"detach\(\) on that tensor"):
            plain(model, example, train=True)
    assert weight.grad is None
    x.sum().backward()  # nothing has freed it
    assert torch.equal(weight.grad, torch.full((4,), 4.0))
    unused = Lin(last_loss=X * weight)
    assert plain(unused, train=True).flops == 2 * 2 * ONE


def numbers():
    number = 1
    while True:
        yield number
        number += 1


def test_what_cannot_be_rewound_is_refused_in_one_sentence():
    for kind, iterator in (("generator", numbers()), ("count", itertools.count(1))):
        model = Lin(iterator=iterator)
        assert plain(model).flops == 2 * ONE  # nothing advances it
        model.rows = lambda x, it=iterator: x.repeat(next(it), 1)
        with pytest.raises(UnsteadyModelError, match=f"a pass changes a {kind}"):
            plain(model)


def test_passes_that_differ_all_the_same_are_refused():
    model = Lin()
    model.rows = lambda x: x.repeat(1 + int.from_bytes(os.urandom(4), "big") % 997, 1)
    with pytest.raises(UnsteadyModelError, match=r"differ .* call 0 was repeat \["):
        plain(model)
    calls = itertools.count()
    model.rows = lambda x: x if next(calls) % 2 else x + 1
    with pytest.raises(UnsteadyModelError):
        plain(model)


def test_a_decoding_step_with_a_cache_of_our_own():
    model = zoo.load("small_deepseek", pretrained=False).eval()
    ids = torch.randint(0, 20, (1, 6))
    cache = Cache(model, 1, 16)
    with torch.no_grad():
        model(ids, cache)
        result = plain(model, (ids[:, :1], cache))
        assert (cache.lengths.tolist(), cache.end) == ([6], 6)
        after = model(ids[:, :1], cache)
        fresh = Cache(model, 1, 16)
        model(ids, fresh)
        assert torch.equal(after, model(ids[:, :1], fresh))
    assert result.flops > 0


def test_a_decoding_step_with_a_cache_of_transformers():
    transformers = pytest.importorskip("transformers")
    layers, width, heads, inner, words, read = 2, 32, 2, 64, 99, 5
    config = transformers.LlamaConfig(
        vocab_size=words, hidden_size=width, intermediate_size=inner,
        num_hidden_layers=layers, num_attention_heads=heads,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    cache = transformers.DynamicCache(config=config)
    ids = torch.randint(0, words, (1, read))
    known = inspect.signature(model.forward).parameters
    given = {"cache" if "cache" in known else "past_key_values": cache}
    with torch.no_grad():
        model(input_ids=ids, **given, use_cache=True)
    keys = [layer.keys for layer in cache.layers]
    result = plain(model, {"input_ids": ids[:, :1], **given, "use_cache": True})
    # projections, gated feed-forward, scores and values over all tokens; then the head
    dense = 4 * width**2 + 3 * width * inner
    attention = 2 * (read + 1) * width
    by_hand = layers * (dense + attention) + width * words
    rotary = width // heads // 2  # positions times frequencies: a product, or not
    assert result.macs - by_hand in (0, rotary)
    assert cache.get_seq_length() == read
    assert all(layer.keys is k for layer, k in zip(cache.layers, keys, strict=True))
