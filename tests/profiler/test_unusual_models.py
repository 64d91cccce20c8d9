"""Rare operators are counted or listed as uncounted, and never break the profiler."""

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.parameter import is_lazy

from deepseek_learn.profiler import profile

X = torch.ones(2, 4)
ONE = 2 * 4 * 4  # multiply-adds of `layer` on X


class Model(nn.Module):
    def __init__(self, function, **attributes):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


def plain(model, x=X, train=False):
    return profile(model, x, train=train, repeats=2, progress=False)


@pytest.mark.parametrize("name", ["matrix", "weight", "path", "codes", "scale"])
@pytest.mark.parametrize("value", [nn.Parameter(torch.ones(4, 4)), nn.Linear(4, 4), 3])
def test_an_attribute_of_any_name(name, value):
    result = plain(Model(lambda self, x: self.layer(x), **{name: value}))
    assert result.macs == ONE
    assert "layer.weight" in result.weights
    assert result.plot_parameters().data


def branch(self, x):
    return torch.cond(x.sum() > 0, lambda x: self.layer(x), lambda x: x + 1, (x,))


def loop(self, x):
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(
        lambda i, x: i < 3, lambda i, x: (i + 1, self.layer(x)), (torch.tensor(0), x)
    )[1]


def rows(self, x):
    from torch._higher_order_ops import map

    return map(lambda row: self.layer(row), x)


def running(self, x):
    from torch._higher_order_ops import scan

    return scan(lambda sum, row: (sum + self.layer(row), sum * 2), torch.zeros(4), x)[0]


@pytest.mark.parametrize(
    ("function", "times"), [(branch, 1), (loop, 3), (rows, 1), (running, 1)]
)
@pytest.mark.parametrize("inference", [False, True])
def test_control_flow_is_what_is_called_in_it(function, times, inference):
    model = Model(function)
    with torch.inference_mode(inference):
        result = plain(model)
    assert result.macs == times * ONE
    assert not len(result.uncounted)
    assert result.to_frame().loc["layer", "calls"] >= times
    other = torch.ops.higher_order.cond.py_kernels
    assert all(k.__module__.startswith("torch.") for k in other.values())


@pytest.mark.parametrize(
    ("function", "backward"),
    # the gradient of the weight in each call, that of the input in all but the first
    [(branch, 1), (loop, 3 + 2), (rows, 1), (running, 1)],
)
def test_control_flow_trains_as_python_does(function, backward):
    result = plain(Model(function), train=True)
    flops = result.operators.groupby("phase")["flops"].sum() / 2
    assert flops["backward"] == backward * ONE


def test_the_branch_that_is_not_taken_costs_nothing():
    assert plain(Model(branch), -X).macs == 0


def test_an_operator_that_calls_functions_is_seen_into_or_listed():
    from torch._higher_order_ops import associative_scan

    result = plain(
        Model(
            lambda self, x: associative_scan(
                lambda a, b: a + b, x, 0, combine_mode="generic"
            )
        )
    )
    assert result.flops == 0


def test_flex_attention_is_counted():
    batch, heads, tokens, width = 2, 4, 16, 8
    model = Model(lambda self, q: flex_attention(q, q, q))
    result = plain(model, torch.randn(batch, heads, tokens, width))
    assert result.macs == 2 * batch * heads * tokens**2 * width
    assert not len(result.uncounted)


@pytest.mark.parametrize("train", [False, True])
def test_expanded_inputs_with_nan(train):
    row = torch.full((1, 4), float("nan"))
    x = row.expand(2, 4)
    assert (
        plain(Model(lambda self, x: self.layer(x)), x, train).macs == (1 + train) * ONE
    )
    overwrites = Model(
        lambda self, x: self.layer(self.row.zero_().expand(2, 4)), row=row
    )
    plain(overwrites, x)
    assert x.isnan().all()


@pytest.mark.parametrize("train", [False, True])
def test_a_model_without_data_is_counted_and_not_timed(train):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        x = torch.empty(2, 4)
    result = plain(model, x, train)
    assert result.macs == (1 + train) * ONE
    assert result.parameters == 4 * 4 + 4 + 4 + 4
    assert result.peak_mib > 0
    assert result.latency_ms != result.latency_ms  # not a number
    assert result.verdicts() == []
    assert "nothing is computed" in result.why()
    for figure in (result.plot("flops"), result.plot(), result.plot_memory()):
        assert figure is not None
    assert result.plot_parameters().data == ()


@pytest.mark.parametrize("train", [False, True])
def test_a_lazy_model_stays_lazy(train):
    model = nn.Sequential(
        nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)
    )
    before = torch.get_rng_state()
    result = plain(model, torch.randn(1, 1, 8, 8, generator=torch.Generator()), train)
    forward = (
        result.operators[result.operators["phase"] == "forward"]["flops"].sum() / 2
    )
    assert forward == 36 * 3 * 9 + 3 * 36 * 2
    assert all(is_lazy(p) for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_sparse_and_nested_inputs():
    sparse = torch.eye(4).to_sparse()
    result = plain(Model(lambda self, x: torch.sparse.mm(x, self.layer.weight)), sparse)
    assert list(result.uncounted.index) == ["_sparse_addmm"]
    rows = [torch.randn(2, 4), torch.randn(3, 4)]
    nested = torch.nested.nested_tensor(rows, layout=torch.jagged)
    assert plain(Model(lambda self, x: self.layer(x)), nested).macs == 5 * 16
