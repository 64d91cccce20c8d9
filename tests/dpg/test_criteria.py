"""Criteria: the built-in ones, and what a custom one must return."""

import pytest
import torch

from deepseek_learn import dpg
from deepseek_learn.dpg import Layer
from deepseek_learn.dpg.criteria import damage, grouping
from deepseek_learn.dpg.matrix import weight_matrix
from deepseek_learn.dpg.rounding import output_errors
from deepseek_learn.errors import UnknownNameError
from tests.dpg.small_models import features, mlp

LEVELS = (2, 4, 8)
BUILT_IN = ("sensitivity", "frequency", "frequency×error", "magnitude", "random")


def layer(name="0"):
    model = mlp()
    statistics = dpg.calibrate(model, [features(60)]).layers[name]
    weight = weight_matrix(model.get_submodule(name))
    return Layer(name, weight, statistics, LEVELS, 32)


@pytest.fixture
def own():
    """Registers a custom criterion named "own" for the duration of a test."""

    def register(criterion):
        return grouping.register("own")(criterion)

    yield register
    if "own" in grouping:
        grouping.unregister("own")


def test_the_built_in_ones_are_there():
    assert set(BUILT_IN) <= set(grouping)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_criterion_gives_damage_that_falls_with_bits(name):
    for which in ("0", "3"):
        facts = layer(which)
        measured = damage(name, facts)
        assert measured.shape == (3, len(facts.weight))
        assert measured.dtype == torch.float64
        assert torch.isfinite(measured).all()
        assert (measured >= 0).all()
        assert (measured[:-1].sum(1) > measured[1:].sum(1)).all()
        assert torch.equal(measured, damage(name, layer(which)))  # reproducible


def test_errors_are_those_to_expect_of_rounding_at_each_level():
    facts = layer()
    H = facts.statistics.second_moment
    assert torch.equal(facts.errors, output_errors(facts.weight, LEVELS, 32, H))


# [40, 20] is stored as [48, 32]; the stored weights per row:
STORED = 48 * 32 / 40


def layers_of_sizes():
    """Layers with and without padding."""
    for rows, columns in ((40, 20), (10, 64), (16, 32), (33, 100)):
        seen = dpg.Statistics(
            torch.eye(columns), torch.ones(rows), torch.full((rows,), 0.5)
        )
        yield dpg.Layer("0", torch.ones(rows, columns), seen, LEVELS, 32)


def test_what_the_built_in_ones_compute():
    facts = layer()
    seen, errors = facts.statistics, facts.errors.double()
    # 4^-b: each bit halves the error; a row also pays for its padding
    falling = torch.tensor([[4.0**-b] for b in LEVELS], dtype=torch.float64) * STORED
    wanted = {
        "sensitivity": seen.shrunk_gradient * errors,
        "frequency": seen.frequency * falling,
        "frequency×error": seen.frequency * errors,
        "magnitude": facts.weight.double().square().mean(1) * falling,
    }
    for name, expected in wanted.items():
        torch.testing.assert_close(
            damage(name, facts), expected.double(), rtol=1e-5, atol=0
        )


def test_random_depends_on_the_layers_name_only():
    one, other = layer("0"), layer("3")
    assert not torch.equal(damage("random", one)[:, :5], damage("random", other))
    numbers = damage("random", one)[0] / (4.0**-2 * STORED)
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_a_learners_own_criterion_of_both_shapes(own):
    facts = layer()
    own(lambda layer: layer.weight.abs().amax(1))
    expected = facts.weight.abs().amax(1).double() * STORED
    for level, measured in zip(LEVELS, damage("own", facts), strict=True):
        torch.testing.assert_close(measured, expected * 4.0**-level)
    grouping.unregister("own")
    own(lambda layer: layer.errors * 2)
    assert torch.equal(damage("own", facts), facts.errors.double() * 2)


def test_a_learners_own_criterion_decides_the_bits(own):
    @own
    def last_rows_count(layer):
        return torch.arange(len(layer.weight)) ** 2.0

    model = mlp(width=64)
    calibration = dpg.calibrate(model, [features(60)])
    bits = dpg.allocate(model, calibration, 4, "own").bits["0"]
    assert bits[-16:].min() > bits[:16].max()
    assert (bits.diff() >= 0).all()


def test_whole_numbers_and_gradients_are_taken_too(own):
    own(lambda layer: torch.ones(len(layer.weight), dtype=torch.int64))
    assert damage("own", layer())[0, 0] == STORED / 16


def test_importances_rank_rows_whatever_their_padding(own):
    """Equal importance: the same damage per stored weight in layers of any size."""
    own(lambda layer: torch.ones(len(layer.weight)))
    each = [damage("own", facts)[0].sum() / facts.stored for facts in layers_of_sizes()]
    assert each == pytest.approx([4.0**-2] * len(each))


def test_whole_numbers_stay_whole(own):
    own(lambda layer: torch.ones(len(layer.weight), dtype=torch.int64))
    grouping.unregister("own")
    own(lambda layer: torch.ones(len(layer.weight), requires_grad=True))
    assert not damage("own", layer()).requires_grad


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (torch.ones(39), r"\[39\]"),
        (torch.ones(40, 3), r"\[40, 3\]"),
        (torch.ones(2, 40), r"\[2, 40\]"),
        (torch.ones(1, 3, 40), r"\[1, 3, 40\]"),
        (torch.tensor(1.0), r"\[\]"),
        (None, "NoneType"),
        (1.0, "float"),
        ([1.0] * 40, "list"),
    ],
    ids=str,
)
def test_answers_of_a_wrong_shape(own, answer, got):
    own(lambda layer: answer)
    sentence = (
        rf"criterion 'own' must return a tensor \[40\] or \[3, 40\] for .*got {got}"
    )
    with pytest.raises(ValueError, match=sentence):
        damage("own", layer())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.5])
@pytest.mark.parametrize("levels", [False, True])
def test_answers_that_are_no_damage(own, bad, levels):
    answer = torch.ones(3, 40) if levels else torch.ones(40)
    answer[..., 7] = bad
    own(lambda layer: answer)
    with pytest.raises(
        ValueError, match="criterion 'own' must return finite numbers of"
    ):
        damage("own", layer())


def test_an_error_inside_a_criterion_is_the_learners(own):
    own(lambda layer: layer.color)
    with pytest.raises(AttributeError, match="color"):
        damage("own", layer())


def test_unknown_names_and_names_taken():
    with pytest.raises(
        UnknownNameError, match=r"'entropy' is not known; the known names are: .*,"
    ):
        damage("entropy", layer())
    with pytest.raises(ValueError, match="'random' is already registered"):
        grouping.register("random")(lambda layer: layer.errors)
    assert grouping["random"](layer()).shape == (40,)  # still the original one
    grouping.register("random")(grouping["random"])  # the same object: allowed
