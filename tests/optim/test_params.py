"""Every way in which `torch.optim` accepts parameters, and what it rejects."""

import copy
import io
from collections import OrderedDict
from collections.abc import Iterable

import pytest
import torch
from torch import nn

from deepseek_learn import DeepOpt

# what a function of the model may hand over as parameters, alone or in a group
WAYS = {
    "parameters()": lambda m: m.parameters(),
    "named_parameters()": lambda m: m.named_parameters(),
    "list": lambda m: list(m.parameters()),
    "tuple": lambda m: tuple(m.parameters()),
    "generator": lambda m: (p for p in m.parameters()),
    "filter": lambda m: filter(lambda p: p.requires_grad, m.parameters()),
    "map": lambda m: map(m.get_parameter, [n for n, _ in m.named_parameters()]),
    "dict values": lambda m: dict(m.named_parameters()).values(),
    "dict items": lambda m: dict(m.named_parameters()).items(),
    "keys of a dict": lambda m: dict.fromkeys(m.parameters()).keys(),
    "list of pairs": lambda m: list(m.named_parameters()),
    "tuple of pairs": lambda m: tuple(m.named_parameters()),
    "generator of pairs": lambda m: ((n, p) for n, p in m.named_parameters()),
    "zip of pairs": lambda m: zip(
        [n for n, _ in m.named_parameters()], m.parameters(), strict=True
    ),
    "ParameterList": lambda m: nn.ParameterList(m.parameters()),
    "iterator": lambda m: iter(list(m.parameters())),
}

# how they get into the optimizer that `make` makes; `way` is one of the above
PLACES = {
    "alone": lambda make, whole, way: make(way(whole)),
    "one group": lambda make, whole, way: make([{"params": way(whole)}]),
    "one group per layer": lambda make, whole, way: make(
        [{"params": way(layer), "lr": 0.03} for layer in whole.children()]
    ),
    "a generator of groups": lambda make, whole, way: make(
        {"params": way(layer)} for layer in whole.children()
    ),
    "a tuple of groups": lambda make, whole, way: make(({"params": way(whole)},)),
    "an OrderedDict": lambda make, whole, way: make([OrderedDict(params=way(whole))]),
    "added later": lambda make, whole, way: added_later(make, whole, way),
}


def added_later(make, whole, way):
    first, *rest = whole.children()
    optimizer = make([{"params": way(first)}])
    for layer in rest:
        optimizer.add_param_group({"params": way(layer), "lr": 0.03})
    return optimizer


pytestmark = pytest.mark.filterwarnings("ignore:DeepOpt received parameters without")


def torchs(params):
    return torch.optim.AdamW(params, lr=0.03)


def ours(params):
    return DeepOpt(params, lr=0.03)


def train(model, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randint(11, (16, 7), generator=generator)
        y = (x * 3 + 1) % 5
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        optimizer.step()


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def unmoved(model, before):
    return [n for n, p in model.named_parameters() if torch.equal(p, before[n])]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_every_parameter_is_trained_and_a_saved_run_goes_on(net, way, place):
    def build(make, model):
        return PLACES[place](make, model, WAYS[way])

    peer = copy.deepcopy(net)
    before = weights(net)
    train(peer, build(torchs, peer), 1)
    assert not unmoved(peer, before)  # `torch.optim` accepts it and trains everything
    optimizer = build(ours, net)
    train(net, optimizer, 1)
    assert not unmoved(net, before)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(before)
    # the run goes on from a file in the same way as without one
    buffer, twin = io.BytesIO(), copy.deepcopy(net)
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    resumed = build(ours, twin)
    resumed.load_state_dict(torch.load(buffer))
    train(net, optimizer, 2, seed=1)
    train(twin, resumed, 2, seed=1)
    assert all(torch.equal(p, weights(twin)[n]) for n, p in weights(net).items())


def test_one_tensor_makes_a_group(net):
    layer = net.mix
    for params in (layer.weight, [layer.weight], ("mix.weight", layer.weight)):
        group = {"params": [params] if isinstance(params, tuple) else params}
        before, optimizer = layer.weight.detach().clone(), ours([group])
        layer.weight.grad = torch.randn_like(layer.weight)
        optimizer.step()
        assert not torch.equal(layer.weight, before)


def test_an_empty_group_adds_nothing(net):
    before, optimizer = (
        weights(net),
        ours([{"params": []}, {"params": net.parameters()}]),
    )
    optimizer.add_param_group({"params": ()})
    train(net, optimizer, 1)
    assert not unmoved(net, before)


def test_a_tensor_that_is_added_later_is_trained(net):
    optimizer = ours([net.qkv.weight])
    optimizer.add_param_group({"params": net.mix.weight})
    before = weights(net)
    train(net, optimizer, 1)
    assert set(before) - set(unmoved(net, before)) == {"qkv.weight", "mix.weight"}


def test_a_group_in_a_generator_keeps_its_options(net):
    optimizer = ours([{"params": net.mix.parameters(), "lr": 0.5, "state": "fp32"}])
    (group,) = optimizer.param_groups
    assert (group["lr"], group["state"]) == (0.5, "fp32")


REJECTED = {
    "a tensor": lambda m: m.mix.weight,
    "no parameters": lambda m: [],
    "an empty generator": lambda m: iter(()),
    "a number": lambda m: 3,
    "numbers": lambda m: [1.0],
    "a dict of parameters": lambda m: dict(m.named_parameters()),
    "one group": lambda m: {"params": m.parameters()},
    "a set in a group": lambda m: [{"params": set(m.parameters())}],
    "a layer in a group": lambda m: [{"params": m.mix}],
    "a list of layers": lambda m: [m.mix, m.more],
    "the same in two groups": lambda m: [
        {"params": m.mix.parameters()},
        {"params": m.mix.parameters()},
    ],
    "a group, then a tensor": lambda m: [{"params": m.qkv.parameters()}, m.mix.weight],
    "a tensor, then a group": lambda m: [m.mix.weight, {"params": m.qkv.parameters()}],
    "names for some": lambda m: [("mix.weight", m.mix.weight), m.more.weight],
    "names for some groups": lambda m: [
        {"params": m.mix.named_parameters()},
        {"params": m.more.parameters()},
    ],
    "pairs as lists": lambda m: list(map(list, m.named_parameters())),
    "pairs in reverse": lambda m: [(p, n) for n, p in m.named_parameters()],
    "computed tensors": lambda m: [m.mix.weight * 2],
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_torch_rejects_is_rejected_in_the_same_way(net, case):
    with pytest.raises((TypeError, ValueError)) as theirs:
        torchs(REJECTED[case](net))
    with pytest.raises((TypeError, ValueError)) as error:
        ours(REJECTED[case](net))
    assert error.type is theirs.type


@pytest.mark.parametrize(
    ("params", "kind", "words"),
    [
        (
            lambda m: set(m.parameters()),
            TypeError,
            "params must be a model.* got a set",
        ),
        (lambda m: frozenset(m.parameters()), TypeError, "got a frozenset"),
        (lambda m: [{"params": {m.mix.weight}}], TypeError, "got a set"),
        (lambda m: [m.mix.weight] * 2, ValueError, "each parameter once"),
        (lambda m: [{"params": []}, {"params": ()}], ValueError, "at least one"),
        (lambda m: [[m.mix.weight]], TypeError, r"pairs \(name, tensor\); got a list"),
        (lambda m: [("a", "b", m.mix.weight)], TypeError, r"\(str, str, Parameter\)"),
        (lambda m: enumerate(m.parameters()), TypeError, r"tuple of \(int, Parameter"),
        (lambda m: [("a", m.mix.weight), m.qkv.bias], ValueError, "all have names"),
    ],
)
def test_what_is_rejected_gets_a_sentence(net, params, kind, words):
    with pytest.raises(kind, match=words):
        ours(params(net))


def test_an_iterator_that_was_read_before_is_noticed(net):
    iterator = net.mix.parameters()
    with pytest.raises(ValueError, match="the iterator of a group yielded no param"):
        ours([{"params": iterator}, {"params": iterator}])
    optimizer = ours(net.qkv.parameters())
    with pytest.raises(ValueError, match="read before; pass a list instead"):
        optimizer.add_param_group({"params": iterator})


@pytest.mark.parametrize(
    ("group", "kind", "words"),
    [
        ([], TypeError, 'a group must be a dict with "params"; got a list'),
        ({"lr": 0.1}, ValueError, 'a group must be a dict with "params"; got {'),
        ({"params": {1}}, TypeError, "got a set"),
        ({"params": 1}, TypeError, "got a int"),
        ({"params": [1]}, TypeError, "must hold tensors"),
    ],
)
def test_a_rejected_group_leaves_the_optimizer_unchanged(net, group, kind, words):
    optimizer = ours(net.mix.parameters())
    with pytest.raises(kind, match=words):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_a_group_of_which_only_a_part_is_rejected_adds_nothing(net):
    optimizer = DeepOpt(net.mix.named_parameters())
    computed = ("computed", net.qkv.bias * 2)  # adamw, while qkv.weight is a matrix
    with pytest.raises(ValueError, match="non-leaf"):
        optimizer.add_param_group(
            {"params": [("qkv.weight", net.qkv.weight), computed]}
        )
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": net.qkv.named_parameters()})
    assert len(optimizer.param_groups) == 3


def test_an_iterable_is_read_once(net):
    class Once(Iterable):
        reads = 0

        def __iter__(self):
            self.reads += 1
            return iter(list(net.mix.parameters()))

    for build in (ours, lambda once: ours([{"params": once}])):
        once = Once()
        build(once)
        assert once.reads == 1
