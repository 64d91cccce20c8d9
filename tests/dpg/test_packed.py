"""A packed matrix: exact, of minimal size, the same planes for all precisions."""

import copy
import pickle
from itertools import accumulate
from math import ceil

import pytest
import torch

from deepseek_learn import dpg
from deepseek_learn.dpg import pack_matrix, quantize
from deepseek_learn.dpg.codes import BITS
from deepseek_learn.dpg.matrix import pad_columns
from deepseek_learn.dpg.packed import PackedMatrix
from deepseek_learn.dpg.planes import used_widths
from deepseek_learn.errors import DeepSeekLearnError
from tests.dpg.reference import packed
from tests.dpg.small_models import features

SHAPES = [(37, 70), (16, 32), (5, 33), (1, 1), (64, 128)]


def rounded(rows, columns, bits=None):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    given = bits or torch.tensor(BITS)[torch.arange(rows) % len(BITS)]
    return quantize(weight, given, 32), weight


# 7000 rows: those of each width are unpacked in two pieces
@pytest.mark.parametrize("shape", [*SHAPES, (7000, 40)])
def test_unpacked_it_is_what_was_rounded(shape):
    codes, weight = rounded(*shape)
    matrix = pack_matrix(codes, weight)
    assert torch.equal(matrix.dequantize(), codes.dequantize())
    assert (matrix.rows, matrix.columns) == shape
    assert not matrix.has_refinement


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_are_planes_scales_and_order_and_nothing_else(shape, refine):
    codes, weight = rounded(*shape)
    padded, groups = ceil(shape[1] / 32) * 32, ceil(shape[1] / 32)
    expected = stored = 0
    for b in BITS:
        blocks = ceil(int((codes.bits == b).sum()) / 16) * 16
        expected += blocks * (padded * b // 8 + 2 * groups)
        stored += blocks
    if refine:
        expected += stored * (padded * 4 // 8 + 2 * groups)
    matrix = pack_matrix(codes, weight, refine)
    assert dpg.bytes_of(matrix) == expected + 4 * stored


@pytest.mark.parametrize("shape", SHAPES)
def test_every_row_is_stored_once_in_whole_blocks_of_16(shape):
    matrix, _ = packed(*shape, refine=True)
    order = matrix.order
    assert order.dtype == torch.int32
    assert torch.equal(order[order >= 0].sort().values, torch.arange(shape[0]).int())
    assert set(order[order < 0].tolist()) <= {-1}
    base = [s for s in matrix.segments if s.term == "base"]
    assert [s.bits for s in base] == sorted({s.bits for s in base}, reverse=True)
    assert all(s.rows % 16 == 0 and s.rows > 0 for s in matrix.segments)
    ends = list(accumulate(s.rows for s in base))
    assert [s.first for s in base] == [0, *ends[:-1]]
    assert ends[-1] == len(order)


@pytest.mark.parametrize("bits", BITS)
def test_fewer_planes_are_the_middle_of_what_the_codes_may_be(bits):
    codes, weight = rounded(37, 70, bits)
    matrix = pack_matrix(codes, weight)
    for matrix.max_bits in range(2, 9):
        cut = bits - sum(used_widths(bits, matrix.max_bits))
        high = codes.codes.double() // 2**cut * 2**cut
        middle = high + (2**cut - 1) / 2 - 2 ** (bits - 1)
        scale = codes.scale.double().T.repeat_interleave(32, 1)
        # an 8-bit code times the 8 bits of a bfloat16 is exact in float32
        assert torch.equal(matrix.dequantize().double(), (middle * scale)[:, :70])


@pytest.mark.parametrize("bits", [*BITS, None])
def test_the_refine_term_mends_the_base_up_to_half_its_own_step(bits):
    matrix, weight = packed(bits=bits, refine=True)
    whole = matrix.dequantize()
    matrix.refined = False
    base = matrix.dequantize()
    residual, error = weight - base, (weight - whole).double()
    scale = matrix.scale_of(matrix.segments[-1])[:, matrix.order.argsort()[-37:]]
    scale = scale.double().T.repeat_interleave(32, 1)[:, :70]
    inside = (residual >= -8 * scale) & (residual <= 7 * scale)
    # the two terms are added in float32
    slack = scale * 1e-5 + weight.abs() * 2.0**-22
    assert (error.abs() <= scale / 2 + slack)[inside].all()
    # a clipping scale is chosen only if the group's squared error is smaller than with
    # steps of 2/15 of the range; rounding the scale to 2^-8 adds up to 7 %
    of_group = [pad_columns(e.double(), 32).view(37, -1, 32) for e in (residual, error)]
    largest, square = of_group[0].abs().amax(2), of_group[1].square().sum(2)
    assert (square <= 32 * (1.07 * largest / 15).square() + 1e-12).all()
    plain, _ = packed(bits=bits)
    assert torch.equal(base, plain.dequantize())


def test_a_refine_term_by_the_inputs_moment_loses_less_of_the_output():
    x = features(400, columns=70)
    H = x.T @ x / len(x)
    codes, weight = rounded(37, 70)
    plain, calibrated = (pack_matrix(codes, weight, True, m) for m in (None, H))
    errors = [(m.dequantize() - weight).double() for m in (plain, calibrated)]
    lost = [(x.double() @ error.T).square().sum() for error in errors]
    assert lost[1] < lost[0]
    for matrix in (plain, calibrated):
        matrix.refined = False
    assert torch.equal(plain.dequantize(), calibrated.dequantize())
    assert dpg.bytes_of(plain) == dpg.bytes_of(calibrated)


def test_parts_are_what_is_in_use_base_before_refine():
    matrix, _ = packed(refine=True)
    assert matrix.has_refinement
    assert [p.accumulate for p in matrix.parts()] == [False] * 6 + [True]
    matrix.max_bits = 4
    assert [sum(p.widths) for p in matrix.parts()] == [4, 4, 4, 4, 3, 2, 4]
    matrix.refined = False
    assert not any(p.accumulate for p in matrix.parts())
    part = matrix.parts()[0]  # views, not copies
    assert part.planes[0].data_ptr() == matrix.base8_plane0.data_ptr()
    assert "16 x base8" in repr(matrix)
    assert "[37, 70]" in repr(matrix)


@pytest.mark.parametrize("how", ["half", "bfloat16", "double", "float", "eval", "cpu"])
def test_no_change_of_dtype_touches_a_bit(how):
    matrix, _ = packed(refine=True)
    before = {k: v.clone() for k, v in matrix.state_dict().items()}
    whole = matrix.dequantize()
    getattr(matrix, how)()
    after = matrix.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert all(v.dtype == after[k].dtype for k, v in before.items())
    assert torch.equal(matrix.dequantize(), whole)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_are_equal_and_independent(copied):
    matrix, _ = packed(refine=True)
    whole = matrix.dequantize()
    other = copied(matrix)
    assert torch.equal(other.dequantize(), whole)
    other.base8_scale.zero_()
    other.refined, other.max_bits = False, 2
    assert torch.equal(matrix.dequantize(), whole)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("backend", ["torch", "int4", "cpp"])
def test_a_state_that_is_loaded_is_used_at_once(backend, assign):
    """Backends cache prepared matrices: the cache must not be used for other planes."""
    first, second = packed(seed=0)[0], packed(seed=1)[0]
    x = torch.randn(3, 70, generator=torch.Generator().manual_seed(0))
    with dpg.use_backend(backend):
        if not works():
            pytest.skip(f"{backend} does not work here")
        before = dpg.kernels.multiply(first, x, None)
        expected = dpg.kernels.multiply(second, x, None)
        assert not torch.equal(before, expected)
        first.load_state_dict(second.state_dict(), assign=assign)
        assert torch.equal(dpg.kernels.multiply(first, x, None), expected)


def test_tensors_that_moved_are_looked_for_anew():
    first, second = packed(seed=0)[0], packed(seed=1)[0]
    x = torch.randn(3, 70, generator=torch.Generator().manual_seed(0))
    for backend in ("torch", "int4", "cpp"):
        with dpg.use_backend(backend):
            if not works():
                continue
            expected = dpg.kernels.multiply(second, x, None)
            matrix = copy.deepcopy(first)
            dpg.kernels.multiply(matrix, x, None)
            matrix.to("meta").to_empty(device="cpu")
            for mine, reference in zip(matrix.buffers(), second.buffers(), strict=True):
                mine.copy_(reference)
            assert torch.equal(dpg.kernels.multiply(matrix, x, None), expected)


def works():
    try:
        return bool(dpg.backend())
    except DeepSeekLearnError:
        return False


def test_an_empty_one_takes_the_state_of_another():
    matrix, _ = packed(refine=True)
    empty = PackedMatrix(37, 70, 32, matrix.segments)
    empty.load_state_dict(matrix.state_dict())
    assert torch.equal(empty.dequantize(), matrix.dequantize())
    other = PackedMatrix(37, 70, 32, matrix.segments[:-1])
    with pytest.raises(RuntimeError, match="refine4_plane0"):
        other.load_state_dict(matrix.state_dict())


def test_input_rows_are_padded_with_zeros():
    matrix, _ = packed()
    x = torch.randn(3, 70)
    rows = pad_columns(x, matrix.group_size)
    assert rows.shape == (3, 96)
    assert torch.equal(rows[:, :70], x)
    assert (rows[:, 70:] == 0).all()


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("max_bits", [2, 4, 8])
def test_rows_that_are_looked_up_are_those_of_the_whole(max_bits, refined):
    matrix, _ = packed(refine=True)  # 37 rows of all bit widths
    matrix.max_bits, matrix.refined = max_bits, refined
    whole, index = matrix.dequantize(), torch.tensor([[36, 0, 7], [7, 20, 5]])
    assert torch.equal(matrix.lookup(index), whole[index])
    assert torch.equal(matrix.lookup(torch.arange(37)), whole)
    assert matrix.lookup(torch.empty(2, 0, dtype=torch.int64)).shape == (2, 0, 70)


def test_a_lookup_after_another_state_was_loaded_finds_the_new_rows():
    matrix, other = (packed(bits=b, seed=b)[0] for b in (4, 4))
    other.order.copy_(other.order.flip(0))
    matrix.lookup(torch.tensor([3]))
    matrix.load_state_dict(other.state_dict())
    assert torch.equal(matrix.lookup(torch.arange(37)), other.dequantize())


@pytest.mark.parametrize("refine", [False, True])
def test_the_codes_come_back(refine):
    weight = torch.randn(37, 70)
    bits = torch.tensor([2, 3, 4, 5, 6, 8])[torch.randint(6, (37,))]
    codes = dpg.quantize(weight, bits, 32)
    again = dpg.pack_matrix(codes, weight, refine).codes()
    for name in ("codes", "scale", "bits", "columns"):
        before, after = getattr(codes, name), getattr(again, name)
        assert torch.equal(torch.as_tensor(before), torch.as_tensor(after)), name
