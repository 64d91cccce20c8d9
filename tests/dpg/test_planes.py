"""Planes: the layout matches its docstring, and a prefix is a lower precision."""

import pytest
import torch

from deepseek_learn.dpg.codes import BITS
from deepseek_learn.dpg.planes import (
    WIDTHS,
    pack,
    split,
    step_and_zero,
    unpack,
    used_widths,
)


def codes(bits, rows=32, columns=64):
    generator = torch.Generator().manual_seed(bits)
    shape = rows, columns
    return torch.randint(2**bits, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_each_code_lies_where_the_layout_says(width):
    given, each = codes(width), 8 // width
    plane = pack(given, width)
    assert plane.dtype == torch.uint8
    assert plane.shape == (2, 64 // (4 * each), 64)
    assert plane.numel() == 32 * 64 * width // 8  # no more bits than the codes need
    for row in range(32):
        for k in range(64):
            line, (j, lane) = k // (4 * each), divmod(k % (4 * each), 4)
            byte = int(plane[row // 16, line, 4 * (row % 16) + lane])
            assert byte >> (width * j) & (2**width - 1) == given[row, k]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_unpacking_gives_back_what_was_packed(width):
    assert torch.equal(unpack(pack(codes(width), width), width), codes(width))
    rows = torch.tensor([31, 0, 16, 0])
    some = unpack(pack(codes(width), width), width, rows)
    assert torch.equal(some, codes(width)[rows])


@pytest.mark.parametrize("bits", WIDTHS)
def test_planes_from_high_to_low_make_up_the_code(bits):
    together = torch.zeros(32, 64, dtype=torch.uint8)
    for plane, width in zip(split(codes(bits), bits), WIDTHS[bits], strict=True):
        together = together << width | unpack(plane, width)
    assert torch.equal(together, codes(bits))
    stored = sum(plane.numel() for plane in split(codes(bits), bits))
    assert stored == 32 * 64 * bits // 8


def test_widths_are_known_for_all_bits_and_add_up_to_them():
    assert set(BITS) <= WIDTHS.keys()
    for bits, widths in WIDTHS.items():
        assert sum(widths) == bits
        assert set(widths) <= {1, 2, 4}  # a byte holds whole codes


@pytest.mark.parametrize("bits", WIDTHS)
def test_used_are_the_leading_planes_that_fit_and_the_first_always(bits):
    for limit in range(2, 9):
        used = used_widths(bits, limit)
        assert used == WIDTHS[bits][: len(used)]
        assert len(used) == 1 or sum(used) <= limit
        left = WIDTHS[bits][len(used) :]
        assert not left or sum(used) + left[0] > limit
    assert used_widths(bits, 8) == WIDTHS[bits]


@pytest.mark.parametrize("bits", BITS)
def test_a_truncated_code_is_read_as_the_mean_of_what_it_may_have_been(bits):
    for limit in range(2, 9):
        used = sum(used_widths(bits, limit))
        step, zero = step_and_zero(bits, used)
        whole = torch.arange(2**bits, dtype=torch.float64) - 2 ** (bits - 1)
        means = whole.view(2**used, -1).mean(1)
        read = step * (torch.arange(2**used, dtype=torch.float64) - zero)
        # powers of two and halves are exact
        assert torch.equal(read, means)
    assert step_and_zero(bits, bits) == (1.0, 2.0 ** (bits - 1))


def test_the_number_in_the_docstring():
    assert step_and_zero(8, 4) == (16.0, 7.53125)
