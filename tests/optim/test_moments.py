"""How a moving average is stored: the dtype, the size, and the maximum error."""

import pytest
import torch

from deepseek_learn.optim import moments

BF16, INT8 = torch.bfloat16, torch.int8


@pytest.mark.parametrize(
    ("kind", "shape", "dtype"),
    [
        ("fp32", (3, 9), torch.float32),
        ("bf16", (3, 9), BF16),
        ("int8", (3, 9), INT8),
        ("int8", (3, 5), INT8),  # 5 + a scale of 4 bytes: less than 10
        ("int8", (3, 4), BF16),  # 4 + 4 bytes would be the 8 of bfloat16
        ("int8", (3, 2, 3), INT8),
        ("int8", (3, 2, 2), BF16),
        ("int8", (1, 5), INT8),
        ("int8", (900,), BF16),  # a vector's rows are single entries
        ("int8", (), BF16),
    ],
)
def test_each_kind_is_kept_in_its_type(kind, shape, dtype):
    state = {}
    moments.allocate(state, "m", torch.ones(shape), kind)
    assert state["m"].dtype == dtype
    assert state["m"].shape == shape
    assert not state["m"].any()
    scales = [state["m_scale"]] if dtype == INT8 else []
    assert set(state) == {"m", "m_scale"} if scales else {"m"}
    for scale in scales:
        assert scale.shape == (shape[0], *[1] * (len(shape) - 1))
        assert scale.dtype == torch.float32
    size = sum(t.nbytes for t in state.values())
    if kind == "int8":
        assert size <= 2 * state["m"].numel()  # never more than bfloat16


@pytest.mark.parametrize("shape", [(6, 50), (6, 2, 5, 5), (1, 7)])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
def test_what_is_written_is_read_within_a_rounding(kind, shape):
    torch.manual_seed(0)
    size = torch.logspace(-6, 3, shape[0]).view(-1, *[1] * (len(shape) - 1))
    value, state = torch.randn(shape) * size, {}
    moments.allocate(state, "m", value, kind)
    moments.write([state], "m", [value.clone()])
    back = torch.empty(shape)
    moments.read([state], "m", [back])
    largest = value.abs().amax(tuple(range(1, len(shape))), keepdim=True)
    bound = {
        "fp32": torch.zeros(()),
        "bf16": value.abs() * 2**-8,  # 8 bits of significand
        "int8": largest / 127 / 2,
    }[kind]
    assert ((back - value).abs() <= bound * 1.001).all()
    if kind == "int8":  # the largest entry of a row is 127 times its scale
        assert (state["m"].flatten(1).abs().amax(1) == 127).all()


def test_rows_of_zeros_stay_zeros():
    state, value = {}, torch.randn(3, 8)
    value[1] = 0
    moments.allocate(state, "m", value, "int8")
    moments.write([state], "m", [value])
    back = torch.empty(3, 8)
    moments.read([state], "m", [back])
    assert not back[1].any()
    assert back[0].any()


def test_averages_of_several_kinds_are_read_together():
    kinds = ("fp32", "bf16", "int8")
    values, states = [torch.randn(3, 8) for _ in kinds], [{} for _ in kinds]
    for state, value, kind in zip(states, values, kinds, strict=True):
        moments.allocate(state, "m", value, kind)
    moments.write(states, "m", values)
    copies = [state["m"].clone() for state in states]
    back = [torch.empty(3, 8) for _ in kinds]
    moments.read(states, "m", back)
    for state, value, before, now in zip(states, values, copies, back, strict=True):
        assert (now - value).abs().max() < 0.05
        now.zero_()
        assert torch.equal(state["m"], before)  # what is read is a copy
