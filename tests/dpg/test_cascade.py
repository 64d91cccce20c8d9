"""The cascade refines only uncertain inputs, and its bound holds."""

from math import ceil, inf, nan, nextafter

import pytest
import torch
from torch import nn

from deepseek_learn import catalog, dpg
from deepseek_learn.dpg import CascadeError, DPGLinear, FrozenModelError, pack_matrix
from deepseek_learn.dpg.cascade import margins, refine
from deepseek_learn.dpg.layers import packed_layers
from tests.dpg.reports import check_report
from tests.dpg.small_models import decoder, features, mlp, tokens


def small():
    model = mlp(width=64)
    return dpg.convert(model, dpg.uniform(model, 2), refine=True)


def precise(model, x, on):
    refine(model, on)
    with torch.no_grad():
        return model(x)


def test_a_margin_of_zero_is_the_base_exactly():
    model, x = small(), features()
    with torch.no_grad():
        y = (cascade := dpg.Cascade(model, margin=0))(x)
    assert cascade.last_refined == 0
    assert torch.equal(y, precise(model, x, False))


@pytest.mark.parametrize("margin", [1.01, inf])
def test_a_margin_above_one_is_the_refined_model_exactly(margin):
    model, x = small(), features()
    with torch.no_grad():
        y = (cascade := dpg.Cascade(model, margin=margin))(x)
    assert cascade.last_refined == 1
    assert torch.equal(y, precise(model, x, True))


def test_between_them_each_input_has_the_precision_that_its_margin_asks_for():
    model, x = small(), features(60)
    base, refined = precise(model, x, False), precise(model, x, True)
    assert not torch.equal(base, refined)
    unsure = margins(base).median().item()
    with torch.no_grad():
        y = (cascade := dpg.Cascade(model, margin=unsure))(x)
    taken = margins(base) < unsure
    assert cascade.last_refined == taken.double().mean().item()
    assert 0.3 < cascade.last_refined < 0.6
    assert torch.equal(y[~taken], base[~taken])
    # with fewer rows, the order of summation may differ
    torch.testing.assert_close(y[taken], refined[taken], rtol=1e-4, atol=1e-5)


def test_no_inputs_and_gradients():
    cascade = dpg.Cascade(small(), margin=0.5)
    assert cascade(torch.empty(0, 20)).shape == (0, 5)
    assert cascade.last_refined == 0
    x = features().requires_grad_()
    cascade(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any()


def test_the_margin_is_that_of_the_two_largest_probabilities():
    logits = torch.tensor([[0.0, 0.0, -50.0], [2.0, 0.0, -50.0], [90.0, -90.0, 0.0]])
    p = torch.tensor(2.0).double().sigmoid()
    expected = torch.tensor([0.0, p - (1 - p), 1.0]).double()
    torch.testing.assert_close(margins(logits), expected, rtol=1e-12, atol=1e-12)
    assert margins(logits).dtype == torch.float64
    assert margins(torch.empty(0, 4)).shape == (0,)
    torch.testing.assert_close(margins(logits[1:2, :2]), expected[1:2])  # two classes


@pytest.mark.parametrize("shape", [(), (5,), (3, 1), (2, 4, 5), (3, 0)])
def test_logits_of_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"return logits \[B, classes\] with at least"):
        margins(torch.ones(shape))


def test_a_model_whose_answers_are_no_classes():
    model = decoder()
    cascade = dpg.Cascade(dpg.convert(model, dpg.uniform(model, 4), refine=True))
    with pytest.raises(ValueError, match=r"logits \[B, classes\].*got \[6, 12, 11\]"):
        cascade(tokens())


def test_models_without_refine_terms():
    model = mlp()
    with pytest.raises(
        ValueError, match="model must have refine terms: convert it with"
    ):
        dpg.Cascade(dpg.convert(model, dpg.uniform(model, 4)))
    with pytest.raises(ValueError, match="model must be DPG-compressed"):
        dpg.Cascade(model)


@pytest.mark.parametrize("margin", [-0.1, -inf, nan])
def test_a_margin_that_is_none(margin):
    with pytest.raises(ValueError, match="margin must be at least 0; got"):
        dpg.Cascade(small(), margin)


def test_a_cascade_does_not_train():
    cascade = dpg.Cascade(small())
    with pytest.raises(FrozenModelError, match="cannot train"):
        cascade.train()
    assert not any(m.training for m in cascade.modules())
    assert cascade.eval() is cascade


class Toy(nn.Module):
    """Returns its input columns as logits: 0..2 at the base, 3..5 when refined."""

    def __init__(self):
        super().__init__()
        eye = torch.eye(32)
        self.layer = DPGLinear(pack_matrix(dpg.quantize(eye, 4), eye, True), None)

    def forward(self, x):
        return x[:, 3:6] if self.layer.matrix.refined else x[:, :3]


class Reference(nn.Module):
    def forward(self, x):
        return x[:, 6:]


def toy(gaps, base_same, refined_same=None):
    """Inputs whose base logits have the gaps `gaps`; the reference predicts class 0."""
    n = len(gaps)
    x = torch.zeros(n, 9, dtype=torch.float64)
    for i in range(n):
        x[i, 0 if base_same[i] else 1] = gaps[i]
        x[i, 3 if refined_same is None or refined_same[i] else 4] = 1
    x[:, 6] = 1
    return x


def test_the_bound_by_hand():
    # 19 inputs, agreement 0.9: (D + 1) / 20 <= 0.1, so D may be 1
    gaps = [0.1 * (i + 1) for i in range(19)]
    same = [i not in (3, 7, 12) for i in range(19)]
    x = toy(gaps, same)[torch.randperm(19)]
    cascade = dpg.Cascade(Toy())
    result = cascade.calibrate(x.split(5), 0.9, Reference())
    # the 8th smallest margin must be refined, the 13th need not be
    base = precise(cascade.model, x, False)
    ranked = margins(base).sort().values
    assert cascade.margin == result.margin == nextafter(ranked[7].item(), inf)
    assert ranked[7] < result.margin < ranked[8]
    assert result.refined_fraction == 8 / 19
    assert result.base_agreement == 16 / 19
    assert result.agreement == 18 / 19
    assert (result.samples, result.target) == (19, 0.9)
    y = cascade(x)
    assert cascade.last_refined == 8 / 19
    assert (y.argmax(1) == 0).double().mean() == result.agreement


def smallest(x, cascade, reference, agreement):
    """Try every distinct threshold; the smallest one that satisfies the bound."""
    base = precise(cascade.model, x, False)
    refined = precise(cascade.model, x, True)
    expected = reference(x).argmax(1)
    margin = margins(base)
    for threshold in sorted({0.0, *(nextafter(m, inf) for m in margin.tolist())}):
        taken = margin < threshold
        answer = torch.where(taken[:, None], refined, base).argmax(1)
        differs = answer != expected
        # inputs that refining makes wrong also count, so that D is nonincreasing in τ
        counted = int((differs | (refined.argmax(1) != expected)).sum())
        if (counted + 1) / (len(x) + 1) <= 1 - agreement + 1e-12:
            return threshold, 1 - int(differs.sum()) / len(x)
    return None, None


@pytest.mark.parametrize("seed", range(30))
def test_the_smallest_threshold_that_holds_the_bound_is_taken(seed):
    """Including equal margins and inputs that refining makes wrong."""
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(8, 60, (1,), generator=generator))
    gaps = torch.randint(1, 8 if seed % 2 else 1000, (n,), generator=generator) / 7
    same = torch.rand(n, generator=generator) < 0.6 + gaps.clamp(max=1) * 0.3
    refined_same = torch.rand(n, generator=generator) < 0.95
    x = toy(gaps.tolist(), same.tolist(), refined_same.tolist())
    cascade = dpg.Cascade(Toy(), margin=0.123)
    for agreement in (0.5, 0.7, 0.8):
        threshold, reached = smallest(x, cascade, Reference(), agreement)
        if threshold is None:
            with pytest.raises(CascadeError, match="refined predictions themselves"):
                cascade.calibrate([x], agreement, Reference())
            continue
        result = cascade.calibrate([x], agreement, Reference())
        assert result.margin == cascade.margin == threshold
        assert result.agreement == pytest.approx(reached)
        assert result.agreement >= agreement


def test_inputs_of_equal_margin_are_refined_together():
    """Refining three of six equal inputs would do; refining all six also does harm."""
    same = [False] * 3 + [True] * 3
    x = toy(
        [1.0] * 6 + [3.0] * 3, same + [True] * 3, [not s for s in same] + [True] * 3
    )
    cascade = dpg.Cascade(Toy(), margin=0.2)
    with pytest.raises(
        CascadeError, match=r"on 3 of 9 inputs; agreement=0\.7 allows 2"
    ):
        cascade.calibrate([x], 0.7, Reference())
    assert cascade.margin == 0.2
    assert cascade.calibrate([x], 0.6, Reference()).agreement == 6 / 9


def test_on_a_real_model_the_agreement_is_reached():
    model, x = small(), features(400)
    cascade = dpg.Cascade(model)
    result = cascade.calibrate(x.split(64), 0.98)
    same = cascade(x).argmax(1) == precise(model, x, True).argmax(1)
    assert same.double().mean() >= 0.98
    assert same.double().mean().item() == pytest.approx(result.agreement, abs=1 / 400)
    assert result.base_agreement < 0.98  # so there is something to refine
    assert 0 < result.refined_fraction < 1
    # the original model as the reference
    original = mlp(width=64)
    result = cascade.calibrate([(x, None)], 0.9, original)
    expected = original(x).argmax(1)
    assert (cascade(x).argmax(1) == expected).double().mean() >= 0.9
    # an agreement that is reached without refining
    result = cascade.calibrate([x], 0.05)
    assert (result.margin, result.refined_fraction) == (0, 0)


@pytest.mark.parametrize("agreement", [0.5, 0.7, 0.9, 0.95, 0.99])
def test_as_many_inputs_as_the_sentence_says_are_enough(agreement):
    needed = ceil(agreement / (1 - agreement) - 1e-9)
    assert 1 / (needed + 1) <= 1 - agreement + 1e-12 < 1 / needed
    cascade = dpg.Cascade(Toy())
    x = toy([1.0] * needed, [True] * needed)
    cascade.calibrate([x], agreement, Reference())
    before = cascade.margin
    sentence = f"needs at least {needed} calibration inputs; got {needed - 1}"
    if needed > 1:
        with pytest.raises(ValueError, match=sentence):
            cascade.calibrate([x[1:]], agreement, Reference())
    assert cascade.margin == before


def test_an_agreement_that_cannot_be_reached():
    cascade = dpg.Cascade(Toy(), margin=0.2)
    x = toy([1.0] * 20, [True] * 20, [True] * 15 + [False] * 5)
    x[:, 0], x[:, 1] = 0, 1  # the base is always wrong
    sentence = (
        r"refined predictions themselves differ .* on 5 of 20 .*agreement=0\.9 allows 1"
    )
    with pytest.raises(CascadeError, match=sentence):
        cascade.calibrate([x], 0.9, Reference())
    assert cascade.margin == 0.2


@pytest.mark.parametrize("agreement", [0, 1, -0.5, 1.5, nan])
def test_an_agreement_that_is_none(agreement):
    with pytest.raises(ValueError, match="agreement must lie between 0 and 1; got"):
        dpg.Cascade(small()).calibrate([features()], agreement)


def test_calibration_inputs_that_are_none():
    cascade = dpg.Cascade(small())
    with pytest.raises(ValueError, match="batches must contain at least one input"):
        cascade.calibrate([], 0.9)
    with pytest.raises(TypeError, match="batches must contain tensors"):
        cascade.calibrate(["x"], 0.9)
    with pytest.raises(TypeError, match=r"batches must contain tensors .*; got a dict"):
        cascade.calibrate([{"x": torch.ones(2, 20)}], 0.9)
    with pytest.raises(TypeError, match=r"list of batches .*Pass \[batch\] instead"):
        cascade.calibrate(torch.ones(2, 20), 0.9)


def test_refine_terms_of_all_layers_are_switched():
    model = small()
    for on in (False, True):
        refine(model, on)
        assert {layer.matrix.refined for layer in packed_layers(model).values()} == {on}
    with pytest.raises(ValueError, match="model must be DPG-compressed"):
        refine(mlp(), True)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_threshold_report(language):
    catalog.set_language(language)
    result = dpg.Cascade(small()).calibrate([features(200)], 0.95)
    check_report(result, language)
    assert result.to_frame()["value"].to_dict() == vars(result)
    for number in (
        f"{result.margin:.3f}",
        f"{result.refined_fraction:.1%}",
        f"{result.agreement:.2%}",
    ):
        assert number in result.why()
    assert list(result.plot().data[0].y) == [result.base_agreement, result.agreement]
