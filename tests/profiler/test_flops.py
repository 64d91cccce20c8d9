"""FLOPs equal the count by hand, however an operation is called."""

import pytest
import torch
import torch.nn.functional as F
from profiled_models import Experts, Functional
from torch import nn

from deepseek_learn import zoo
from deepseek_learn.dpg.layers import DPGLayer
from deepseek_learn.profiler import Cost, layer_costs, operator_costs, profile


def macs(model, *example, train=False):
    found = profile(model, example, train=train, repeats=1, progress=False)
    assert not len(found.uncounted), found.uncounted
    assert found.flops == 2 * found.macs
    return found.macs


CONVOLUTIONS = {
    # name: layer, input, multiply-adds by hand: positions x outputs x inputs a position
    "plain": (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 10), 2 * 100 * 8 * 27),
    "strided": (nn.Conv2d(3, 8, 3, 2, 1), (1, 3, 10, 10), 25 * 8 * 27),
    "grouped": (nn.Conv2d(8, 8, 3, groups=4), (1, 8, 6, 6), 16 * 8 * 2 * 9),
    "dilated": (nn.Conv2d(2, 4, 3, dilation=2), (1, 2, 9, 9), 25 * 4 * 18),
    "1-D": (nn.Conv1d(4, 6, 5), (3, 4, 20), 3 * 16 * 6 * 20),
    "3-D": (nn.Conv3d(2, 4, 3), (1, 2, 6, 7, 8), 4 * 5 * 6 * 4 * 54),
    # each input position meets each weight once
    "transposed": (nn.ConvTranspose2d(4, 6, 2, 2), (1, 4, 5, 5), 25 * 4 * 6 * 4),
    "transposed 3-D": (nn.ConvTranspose3d(2, 3, 2, 2), (1, 2, 3, 3, 3), 27 * 2 * 3 * 8),
    "transposed, grouped": (
        nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), 25 * 4 * 3 * 9
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    layer, shape, by_hand = CONVOLUTIONS[name]
    assert macs(layer, torch.randn(shape)) == by_hand


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_step_costs_three_forwards_without_the_gradient_of_the_input(name):
    layer, shape, by_hand = CONVOLUTIONS[name]
    assert macs(layer, torch.randn(shape), train=True) == 2 * by_hand
    given = torch.randn(shape, requires_grad=True)
    assert macs(layer, given, train=True) == 3 * by_hand


@pytest.mark.parametrize(("rnn", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(rnn, gates, directions):
    layers, batch, steps, width, hidden = 2, 3, 7, 5, 6
    by_hand, size = 0, width
    for _ in range(layers):
        by_hand += directions * gates * hidden * (size + hidden)
        size = directions * hidden
    model = rnn(width, hidden, layers, bidirectional=directions == 2)
    found = macs(model, torch.randn(steps, batch, width))
    assert found == steps * batch * by_hand


def test_an_lstm_step_costs_three_forwards():
    model = nn.LSTM(5, 6)
    given = torch.randn(7, 3, 5, requires_grad=True)
    assert macs(model, given, train=True) == 3 * macs(model, given)


def test_functional_attention():
    given = torch.randn(2, 3, 16, 16)
    assert macs(Functional(), given) == Functional.macs(2, 16)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_on_both_paths(need_weights):
    width, tokens, batch = 16, 6, 2
    model = nn.MultiheadAttention(width, 4, batch_first=True)
    by_hand = batch * (tokens * 4 * width**2 + 2 * tokens**2 * width)
    example = dict.fromkeys(
        ("query", "key", "value"), torch.randn(batch, tokens, width)
    )
    found = profile(model, example | {"need_weights": need_weights}, repeats=1)
    assert found.macs == by_hand
    fused = "_native_multi_head_attention" in set(found.operators["operator"])
    assert fused  # evaluation without gradients takes the fused path
    separate = profile(model, example | {"need_weights": need_weights}, train=True)
    forward = separate.operators[separate.operators["phase"] == "forward"]
    assert forward["flops"].sum() == 2 * by_hand


def test_an_encoder_layer_keeps_its_fused_path_and_is_counted():
    width, hidden, tokens, batch = 16, 24, 5, 2
    model = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True).eval()
    found = profile(model, torch.randn(batch, tokens, width), repeats=1)
    assert list(found.operators["operator"]) == ["_transformer_encoder_layer_fwd"]
    dense = tokens * (4 * width**2 + 2 * width * hidden)
    assert found.macs == batch * (dense + 2 * tokens**2 * width)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_padded_sequences_of_an_encoder_count_their_own_lengths():
    width, hidden = 16, 24
    layer = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True)
    model = nn.TransformerEncoder(layer, 1).eval()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    example = {"src": torch.randn(2, 5, width), "src_key_padding_mask": padding}
    found = profile(model, example, repeats=1)
    dense = (5 + 3) * (4 * width**2 + 2 * width * hidden)
    assert found.macs == dense + 2 * (25 + 9) * width


@pytest.mark.parametrize("heads", [4, 2])
def test_attention_backward(heads):
    """Scores again, and a product each for the gradients of q, k, v and the scores."""
    model = nn.Module()
    model.forward = lambda q, k: F.scaled_dot_product_attention(
        q, k, k, enable_gqa=heads != 4
    )
    q = torch.randn(2, 4, 6, 8, requires_grad=True)
    k = torch.randn(2, heads, 7, 8, requires_grad=True)
    found = profile(model, (q, k), train=True, repeats=1)
    one = 2 * 4 * 6 * 7 * 8
    phases = found.operators.groupby("phase")["flops"].sum() / 2
    assert phases["forward"] == 2 * one
    assert phases["backward"] in (4 * one, 5 * one)  # plain, or fused: scores again


PRODUCTS = {
    "mv": (lambda a, b: a @ b[0], 3 * 4),
    "dot": (lambda a, b: a[0] @ b[0], 4),
    "outer": (lambda a, b: torch.addr(torch.zeros(4, 4), a[0], b[0]), 16),
    "mm": (lambda a, b: a @ b.T, 3 * 4 * 5),
    "bmm": (lambda a, b: a[None] @ b.T[None], 3 * 4 * 5),
    "addmv": (lambda a, b: torch.addmv(torch.zeros(3), a, b[0]), 12),
    "addbmm": (
        lambda a, b: torch.addbmm(torch.zeros(3, 5), a[None], b.T[None]), 3 * 4 * 5
    ),
    "einsum": (lambda a, b: torch.einsum("ij,kj->ik", a, b), 3 * 4 * 5),
    "inference mode": (torch.inference_mode()(lambda a, b: F.linear(a, b)), 3 * 4 * 5),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    function, by_hand = PRODUCTS[name]
    model = nn.Module()
    model.forward = function
    assert macs(model, torch.randn(3, 4), torch.randn(5, 4)) == by_hand


def test_a_mixture_of_experts_counts_the_tokens_each_expert_gets():
    x = torch.randn(10, 8)
    found = profile(Experts(), x, repeats=1)
    right = int((x[:, 0] > 0).sum())
    table = found.to_frame()
    assert table.loc["experts.1", "gmacs"] * 1e9 == pytest.approx(right * 64)
    assert found.macs == 10 * 64
    assert not len(found.uncounted)


@pytest.mark.parametrize("name", zoo.list("picture"))
def test_zoo_models_equal_the_count_of_their_layers(name):
    """Convolutions and linear layers by their output shapes, counted by hooks."""
    model, total = zoo.load(name), 0

    def count(layer, inputs, output):
        nonlocal total
        if isinstance(layer, DPGLayer):
            total += output.numel() * layer.matrix.columns
        elif isinstance(layer, nn.ConvTranspose2d):  # an input goes to C_out k k places
            total += inputs[0].numel() * layer.weight[0].numel()
        else:
            total += output.numel() * layer.weight[0].numel()

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, DPGLayer)
    hooks = [
        m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)
    ]
    example = zoo.example(name)
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    found = profile(model, example, repeats=1)
    assert not len(found.uncounted)
    # the attention between the layers of solar_defects is products of its own
    inside = found.to_frame()
    inside = inside[inside["type"].isin([k.__name__ for k in kinds[:3]] + _DPG)]
    assert inside["gmacs"].sum() * 1e9 == pytest.approx(total, rel=1e-12)
    others = found.macs - total
    assert others == 0 or (name.startswith("solar") and 0 < others < 0.01 * total)


_DPG = ["DPGLinear", "DPGConv2d"]


def test_an_unknown_operator_is_listed_not_hidden():
    @torch.library.custom_op("profiled::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    model = nn.Sequential(nn.Linear(4, 4))
    model.forward = lambda x: twice(model[0](x))
    found = profile(model, torch.randn(2, 4), repeats=1)
    assert list(found.uncounted.index) == ["profiled.twice"]
    assert found.uncounted.loc["profiled.twice", "calls"] == 1

    operator_costs.register("profiled.twice")(lambda x, out: 7 * x.numel())
    try:
        found = profile(model, torch.randn(2, 4), repeats=1)
        assert found.flops == 2 * 2 * 16 + 7 * 8
        assert not len(found.uncounted)
    finally:
        operator_costs.unregister("profiled.twice")


class Kernel(nn.Module):
    """Stands for a layer whose work no operator shows."""

    def forward(self, x):
        return x @ x.T


def test_a_layer_with_a_formula_is_counted_by_it_alone():
    name = f"{Kernel.__module__}.Kernel"
    layer_costs.register(name)(lambda layer, inputs, output: Cost(50, 11, 12, 9, 3))
    try:
        found = profile(
            nn.Sequential(Kernel(), nn.ReLU()), torch.randn(3, 4), repeats=2
        )
    finally:
        layer_costs.unregister(name)
    row = found.to_frame().loc["0"]
    assert found.flops == 50
    assert row["parameters"] == 9
    assert row["read_mib"] * 2**20 == 11
    assert row["latency_ms"] > 0
    from deepseek_learn.profiler.costs import _formula_of

    _formula_of.cache_clear()
