"""The zoo's detector: its card's figures, and what it says about a real scan."""

import numpy as np
import pytest

from deepseek_learn import zoo
from deepseek_learn.solutions.nodules import evaluate
from deepseek_learn.solutions.nodules.chest_ct import chest_ct
from deepseek_learn.solutions.nodules.detector import mark
from deepseek_learn.solutions.nodules.solution import pretrained
from deepseek_learn.solutions.nodules.train import ELSEWHERE, VALIDATION
from deepseek_learn.solutions.nodules.uncertainty import calibrate
from deepseek_learn.solutions.phantoms import scans


@pytest.mark.parametrize(
    ("path", "part", "place"),
    [
        (VALIDATION, "validation", "all"),
        (ELSEWHERE, "validation_elsewhere", "elsewhere"),
    ],
)
def test_the_kept_marks_give_the_cards_figures(path, part, place):
    marked = evaluate.load(path)
    assert len(marked) == len(scans.deal(part))
    card = zoo.card("nodule_detector").metrics(part=place)
    for name, figure in evaluate.metrics(evaluate.judged(marked)).items():
        assert card.loc[name, "value"] == pytest.approx(figure["value"], abs=1e-3)


def test_the_kept_marks_give_the_calibration():
    marked = evaluate.load(VALIDATION)
    judged = evaluate.judged(marked)
    # the kept marks are rounded
    again = calibrate(judged, evaluate.diameters(marked))
    calibration = pretrained().calibration
    assert again.slope == pytest.approx(calibration.slope, rel=2e-3)
    assert again.spread == pytest.approx(calibration.spread, rel=2e-3)
    assert again.thresholds == pytest.approx(calibration.thresholds, rel=2e-3)


@pytest.mark.slow
def test_a_phantom_gets_the_marks_that_were_kept():
    index = next(i for i, shapes in enumerate(scans.deal("validation")) if shapes)
    kept = evaluate.load(VALIDATION)[index].marks
    marks = evaluate.mark_scan(zoo.load("nodule_detector"), "validation", index).marks
    best, expected = np.sort(marks[:, 0])[::-1], np.sort(kept[:, 0])[::-1]
    # bfloat16 and float32 differ, and so do processors
    np.testing.assert_allclose(best[:3], expected[:3], atol=0.1)


@pytest.mark.slow
def test_the_lesion_of_a_real_scan_is_marked():
    """A sanity check and no more: two patients prove nothing."""
    scan = chest_ct(1)
    marks = mark(zoo.load("nodule_detector"), scan.hu, scan.spacing_mm)
    inside = np.argwhere(scan.lesion) * scan.spacing_mm
    near = [np.linalg.norm(inside - c, axis=1).min() < 3 for c in marks.centers_mm]
    assert any(near[:10])  # the best are first
