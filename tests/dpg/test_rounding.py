"""Rounding: errors of at most half a step, and GPTQ has a smaller output error."""

from itertools import pairwise

import pytest
import torch

from deepseek_learn.dpg import codes, output_error, quantize, rounding
from deepseek_learn.dpg.codes import BITS, round_to
from deepseek_learn.dpg.gptq import inverse_factor, lower_factor
from deepseek_learn.dpg.rounding import output_errors
from tests.dpg.small_models import features


def weights(rows=24, columns=70, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * 0.3


def scale_of(group, bits, importance):
    return quantize(group, bits, group.shape[1], importance).scale[0].float()


def moment(x):
    return x.T @ x / len(x)


def by_hand(codes):
    """s (q - 2^(b-1)), entry by entry, in float64."""
    n, padded = codes.codes.shape
    matrix = torch.empty(n, padded, dtype=torch.float64)
    for row in range(n):
        for k in range(padded):
            scale = codes.scale[k // codes.group_size, row].double()
            code = int(codes.codes[row, k]) - 2 ** (int(codes.bits[row]) - 1)
            matrix[row, k] = scale * code
    return matrix[:, : codes.columns]


@pytest.mark.parametrize("columns", [1, 127, 128, 129, 300, 577])
def test_the_factor_of_the_inverse_is_upper_triangular_and_its_factor(columns):
    H, damp = moment(torch.randn(2 * columns, columns)), 0.01
    U = inverse_factor(lower_factor(H, columns, damp)).double()
    damped = H.double() + (damp * H.diagonal().mean() + 1e-9) * torch.eye(columns)
    assert torch.equal(U, U.triu())
    eye = torch.eye(columns, dtype=torch.float64)
    torch.testing.assert_close(U.T @ U @ damped, eye, rtol=0, atol=1e-4)


def test_codes_stand_for_scale_times_code_less_half():
    bits = torch.tensor([2, 3, 4, 5, 6, 8] * 4)
    codes = quantize(weights(), bits, group_size=32)
    assert codes.codes.dtype == torch.uint8
    assert codes.codes.shape == (24, 96)  # 70 padded to three groups
    assert codes.scale.dtype == torch.bfloat16
    assert codes.scale.shape == (3, 24)
    assert (codes.columns, codes.group_size) == (70, 32)
    assert torch.equal(codes.bits, bits)
    assert (codes.codes.amax(1) < 2**bits).all()
    # a bfloat16 times an integer below 256 is exact in float32
    assert torch.equal(codes.dequantize().double(), by_hand(codes))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group_size", [32, 64, 128])
def test_nearest_errs_by_half_a_step_inside_the_range(bits, group_size):
    weight = weights()
    codes = quantize(weight, bits, group_size)
    error = (weight - codes.dequantize()).double().abs()
    scale = codes.scale.double().T.repeat_interleave(group_size, 1)[:, :70]
    half = 2 ** (bits - 1)
    inside = (weight / scale >= -half) & (weight / scale <= half - 1)
    step = scale.abs()
    # w / s + half is computed in float32: a tie may be rounded the other way
    slack = 1 + (2 * half + 1) * 2.0**-22
    assert (error <= step / 2 * slack)[inside].all()
    assert inside.double().mean() > 0.5
    # outside of the range, too, no code is nearer
    every = torch.arange(2 * half).double() - half
    nearest = (weight[..., None] - scale[..., None] * every).abs().amin(2)
    assert (error <= nearest + step / 2 * (slack - 1)).all()


def squared_error(group, scale, bits, importance):
    half = 2.0 ** (bits - 1)
    rounded = (round_to(group, scale[:, None], half) - half) * scale[:, None]
    return (rounded - group).square() @ importance


@pytest.mark.parametrize("bits", BITS)
def test_no_scale_that_is_tried_has_a_smaller_error_than_the_chosen_one(bits):
    group, importance = weights(columns=32), torch.rand(32) + 0.1
    chosen = scale_of(group, torch.full((24,), bits), importance)
    assert torch.equal(chosen, chosen.bfloat16().float())
    error = squared_error(group, chosen, bits, importance)
    largest = group.gather(1, group.abs().argmax(1, keepdim=True))[:, 0]
    for clip in codes.CLIPS[bits]:
        scale = (-largest * clip / 2 ** (bits - 1)).bfloat16().float()
        assert (error <= squared_error(group, scale, bits, importance) + 1e-9).all()


@pytest.mark.parametrize(("bits", "share"), [(2, 0.9), (3, 0.9), (4, 0.93), (5, 0.96)])
def test_a_negative_scale_leaves_less_error_than_positive_ones_alone(bits, share):
    group, importance = weights(400, columns=32), torch.ones(32)
    chosen = squared_error(group, scale_of(group, bits, importance), bits, importance)
    full = group.abs().amax(1) / (2 ** (bits - 1) - 0.5)
    positive = [
        squared_error(group, (full * clip / 100).bfloat16().float(), bits, importance)
        for clip in range(40, 120, 2)
    ]
    assert chosen.sum() < share * torch.stack(positive).amin(0).sum()


@pytest.mark.parametrize("bits", BITS)
def test_weights_of_the_other_sign_have_the_same_codes_and_the_opposite_scale(bits):
    H = moment(features(200, columns=70))
    for second_moment in (None, H.diagonal(), H):
        one = quantize(weights(), bits, 32, second_moment)
        other = quantize(-weights(), bits, 32, second_moment)
        assert torch.equal(one.codes[:, :70], other.codes[:, :70])
        assert torch.equal(one.scale, -other.scale)
        assert (one.scale < 0).any()
        assert (one.scale > 0).any()


@pytest.mark.parametrize(
    "bits", [3, 4, 5, 6]
)  # 1.0 is tried; at 8, 256 weights are no group
@pytest.mark.parametrize("scale", [0.25, -0.25])
def test_a_group_on_a_grid_that_is_longer_on_either_side_stays_as_it_is(bits, scale):
    half = 2 ** (bits - 1)
    group = scale * (torch.arange(64) % (2 * half) - half)[None]
    assert torch.equal(quantize(group, bits).dequantize(), group)


@pytest.mark.parametrize("bits", BITS)
def test_a_group_of_zeros_stays_zero(bits):
    assert torch.equal(
        quantize(torch.zeros(2, 64), bits).dequantize(), torch.zeros(2, 64)
    )


def test_more_bits_err_less():
    errors = [output_error(quantize(weights(), b), weights(), None).sum() for b in BITS]
    assert all(a > b for a, b in pairwise(errors))


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_row_is_rounded_as_if_it_were_alone(calibrated):
    weight, H = weights(), moment(features(200, columns=70)) if calibrated else None
    bits = torch.tensor([8, 2, 3, 5, 6, 4] * 4)
    together = quantize(weight, bits, 64, H)
    for row in (0, 1, 7, 23):
        alone = quantize(weight[row : row + 1], int(bits[row]), 64, H)
        # equal arithmetic except for the order of sums: a code may differ by one
        assert torch.equal(together.scale[0, row], alone.scale[0, 0])
        same = together.codes[row] == alone.codes[0]
        assert same.double().mean() > 0.95


def test_calibrated_rounding_with_uncorrelated_inputs_is_rounding_to_nearest():
    nearest, calibrated = (quantize(weights(), 4, 64, H) for H in (None, torch.eye(70)))
    assert torch.equal(nearest.codes, calibrated.codes)
    assert torch.equal(nearest.scale, calibrated.scale)


@pytest.mark.parametrize("bits", BITS)
def test_calibrated_rounding_loses_less_of_the_output(bits):
    x = features(400, columns=70)
    for seed in range(3):
        weight = weights(seed=seed)
        plain, calibrated = (quantize(weight, bits, 64, H) for H in (None, moment(x)))

        def lost(codes, weight=weight):
            return (x.double() @ (weight - codes.dequantize()).double().T).square()

        assert lost(calibrated).sum() < lost(plain).sum()


def test_calibrated_rounding_is_gptq_as_its_paper_writes_it():
    """Column by column, inverting the remaining part of H at each column (OBQ)."""
    weight, x = weights(rows=8, columns=64), features(300, columns=64)
    H = moment(x).double()
    H += 0.01 * H.diagonal().mean() * torch.eye(64)
    left, expected = weight.double(), torch.empty(8, 64)
    # scales minimize the cost that remains after later columns have compensated
    variance = torch.stack([1 / torch.linalg.inv(H[k:, k:])[0, 0] for k in range(64)])
    half = torch.tensor(8.0)
    for k in range(64):
        if k % 32 == 0:
            group = left[:, k : k + 32].float()
            bits = torch.full((8,), 4)
            scale = scale_of(group, bits, variance[k : k + 32].float()).double()
        expected[:, k] = round_to(left[:, k], scale, half)
        inverse = torch.linalg.inv(H[k:, k:])
        error = (left[:, k] - (expected[:, k] - half) * scale) / inverse[0, 0]
        left[:, k:] = left[:, k:] - error[:, None] * inverse[0]
    codes = quantize(weight, 4, 32, moment(x)).codes
    # float32 against float64: a code near a tie may differ, and then some after it
    assert (codes == expected).double().mean() > 0.97


def test_output_error_is_the_mean_square_of_what_the_outputs_lose():
    weight, x = weights(), features(200, columns=70)
    codes = quantize(weight, 3, 32)
    lost = x.double() @ (weight - codes.dequantize()).double().T
    measured = output_error(codes, weight, moment(x))
    torch.testing.assert_close(
        measured.double(), lost.square().mean(0), rtol=1e-4, atol=0
    )
    plain = output_error(codes, weight, None)
    expected = (weight - codes.dequantize()).double().square().sum(1)
    torch.testing.assert_close(plain.double(), expected, rtol=1e-5, atol=0)
    assert (output_error(codes, codes.dequantize(), moment(x)) == 0).all()


@pytest.mark.parametrize("rows", [24, 5000])  # 5000: two chunks of rows
@pytest.mark.parametrize("kind", ["diagonal", "none"])
def test_output_errors_of_uncorrelated_inputs_are_those_of_the_codes(
    kind, rows, monkeypatch
):
    """Equal if both try the same ranges; trying more can only reduce the error."""
    weight, H = weights(rows), moment(features(200, columns=70))
    H = H.diagonal() if kind == "diagonal" else None
    errors = output_errors(weight, BITS, 32, H)
    assert errors.shape == (len(BITS), rows)
    for bits, error in zip(BITS, errors, strict=True):
        least = output_error(quantize(weight, bits, 32, H), weight, H)
        assert (least <= error * (1 + 1e-4) + 1e-9).all()
    monkeypatch.setattr(codes, "CLIPS", rounding.CLIPS_TO_ESTIMATE)
    for bits, error in zip(BITS, errors, strict=True):
        expected = output_error(quantize(weight, bits, 32, H), weight, H)
        torch.testing.assert_close(error, expected, rtol=1e-4, atol=1e-9)


def test_output_errors_of_correlated_inputs_count_what_later_columns_cannot_undo(
    monkeypatch,
):
    monkeypatch.setattr(codes, "CLIPS", rounding.CLIPS_TO_ESTIMATE)
    weight, H = weights(40), moment(features(200, columns=70))
    damped = H.double() + 0.01 * H.diagonal().mean() * torch.eye(70)
    inverses = [torch.linalg.inv(damped[k:, k:]) for k in range(70)]
    variance = torch.stack([1 / inverse[0, 0] for inverse in inverses])
    for bits, errors in zip(BITS, output_errors(weight, BITS, 32, H), strict=True):
        nearest = quantize(weight, bits, 32, variance.float()).dequantize()
        expected = (weight - nearest).double().square() @ variance
        torch.testing.assert_close(errors.double(), expected, rtol=1e-3, atol=1e-9)


def test_output_errors_estimate_those_of_calibrated_rounding():
    """Without clipping, errors are uniform in ±s/2 however GPTQ changed the weights."""
    weight, H = weights(900), moment(features(200, columns=70))
    for bits, errors in zip(BITS, output_errors(weight, BITS, 32, H), strict=True):
        real = output_error(quantize(weight, bits, 32, H), weight, H).sum()
        nearest = output_error(quantize(weight, bits, 32), weight, H).sum()
        assert abs(errors.sum() / real - 1) < (0.4 if bits < 4 else 0.15)
        assert abs(errors.sum() - real) < 0.5 * abs(nearest - real)


@pytest.mark.parametrize("bits", BITS)
def test_no_one_range_for_all_groups_beats_those_tried(bits):
    group, importance = torch.randn(4000, 64), torch.ones(64)
    given, half = torch.full((4000,), bits), torch.tensor(2.0 ** (bits - 1))

    def error(scale):
        left = (round_to(group, scale[:, None], half) - half) * scale[:, None] - group
        return left.square().sum()

    largest = group.abs().amax(1)
    every = [error(largest * c / (half - 0.5)) for c in torch.linspace(0.3, 1, 36)]
    # the scales in the search are bfloat16: off by up to 2^-9
    assert error(scale_of(group, given, importance)) < 1.01 * min(every)


def test_a_diagonal_weighs_the_columns_when_a_scale_is_chosen():
    """By the weighted error, no row is better with unweighted rounding."""
    weight, diagonal = weights(columns=64), torch.linspace(0.01, 4, 64) ** 3
    plain, weighed = (quantize(weight, 2, 64, d) for d in (None, diagonal))
    lost = [output_error(codes, weight, diagonal) for codes in (weighed, plain)]
    assert (lost[0] <= lost[1] * (1 + 1e-5)).all()
    assert lost[0].sum() < lost[1].sum()
    exact = (weight - weighed.dequantize()).double().square() @ diagonal.double()
    torch.testing.assert_close(lost[0].double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("H", [None, torch.zeros(40, 40), torch.ones(40, 40)])
def test_rows_of_zeros_and_inputs_that_never_occur(H):
    weight = weights(columns=40)
    weight[3] = 0
    rounded = quantize(weight, 4, 32, H).dequantize()
    assert torch.isfinite(rounded).all()
    assert (rounded[3] == 0).all()


@pytest.mark.parametrize("power", [-20, 50])
def test_codes_do_not_depend_on_the_size_of_the_weights(power):
    codes, other = quantize(weights(), 4), quantize(weights() * 2.0**power, 4)
    assert torch.equal(codes.codes, other.codes)
    assert torch.equal(codes.scale * 2.0**power, other.scale)


def test_half_precision_is_rounded_as_the_float32_it_stands_for():
    weight = weights().bfloat16()
    assert torch.equal(quantize(weight, 4).codes, quantize(weight.float(), 4).codes)


@pytest.mark.parametrize(
    "bits",
    [
        *(0, 1, 7, 9, 16, -4, 4.5, float("nan"), float("inf"), True, "4", None),
        *(torch.tensor([4, 4]), torch.full((24,), 7), torch.full((24,), 4.5)),
        torch.full((24, 1), 4),
    ],
    ids=lambda bits: str(bits)[:12],
)
def test_bits_that_are_none(bits):
    with pytest.raises(ValueError, match=r"^bits must be one of \(2, 3, 4, 5, 6, 8\)"):
        quantize(weights(), bits)


@pytest.mark.parametrize("shape", [(70,), (2, 3, 4), (), (0, 8), (8, 0)])
def test_a_weight_that_is_no_matrix(shape):
    with pytest.raises(ValueError, match="weight must be a matrix"):
        quantize(torch.ones(shape), 4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(bad):
    weight = weights()
    weight[5, 69] = bad
    with pytest.raises(ValueError, match="weight must be finite"):
        quantize(weight, 4)
    H = torch.eye(70)
    H[3, 3] = bad
    with pytest.raises(ValueError, match="second_moment must be finite"):
        quantize(weights(), 4, second_moment=H)


@pytest.mark.parametrize("shape", [(69, 69), (69,), (70, 71), (96, 96)])
def test_a_second_moment_of_another_size(shape):
    with pytest.raises(ValueError, match=r"second_moment must be \[K, K\] with K = 70"):
        quantize(weights(), 4, second_moment=torch.zeros(shape))


@pytest.mark.parametrize("group_size", [0, -32, 1.5, "64"])
def test_a_group_size_that_is_none(group_size):
    with pytest.raises(ValueError, match="group_size must be"):
        quantize(weights(), 4, group_size)
