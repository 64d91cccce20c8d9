"""FROC and CPM equal a literal port of the challenge's script."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from deepseek_learn.solutions.nodules import evaluate
from deepseek_learn.solutions.nodules.measure import (
    OPERATING_POINTS,
    bootstrap,
    cpm,
    froc,
    judge,
    sensitivity_at,
)


def reference(marks, nodules, excluded):
    """What `noduleCADEvaluationLUNA16.py` computes, in its order and its words."""
    truth, probabilities, exclude_list = [], [], []
    candidate_tps = candidate_fps = total_nodules = 0
    min_probability = -1000000000.0
    for cad, included, irrelevant in zip(marks, nodules, excluded, strict=True):
        candidates = dict(enumerate(cad))
        if len(candidates) > 100:
            threshold = sorted((c[0] for c in cad), reverse=True)[100]
            kept = {}
            for key, candidate in candidates.items():
                if len(kept) < 100 and candidate[0] > threshold:
                    kept[key] = candidate
            candidates = kept
        candidates2 = dict(candidates)
        rows = [(n, True) for n in included] + [(n, False) for n in irrelevant]
        for nodule, is_included in rows:
            total_nodules += is_included
            z, y, x, diameter = nodule
            if diameter < 0.0:
                diameter = 10.0
            radius_squared = pow(diameter / 2.0, 2.0)
            found, matches = False, []
            for key, (score, zc, yc, xc) in candidates.items():
                dist = (x - xc) ** 2 + (y - yc) ** 2 + (z - zc) ** 2
                if dist < radius_squared:
                    if is_included:
                        found = True
                        matches.append(score)
                    candidates2.pop(key, None)
            if not is_included:
                continue
            if found:
                truth.append(1.0)
                probabilities.append(max(matches))
                exclude_list.append(False)
                candidate_tps += 1
            else:
                truth.append(1.0)
                probabilities.append(min_probability)
                exclude_list.append(True)
        for candidate in candidates2.values():
            candidate_fps += 1
            truth.append(0.0)
            probabilities.append(candidate[0])
            exclude_list.append(False)
    used = ~np.array(exclude_list, bool)
    labels, scores = np.array(truth)[used], np.array(probabilities)[used]
    fpr, tpr, _ = roc_curve(labels, scores, pos_label=1)
    fps = fpr * (len(labels) - sum(labels)) / len(marks)
    return fps, tpr * sum(labels) / total_nodules


def scans(seed, count=11):
    """Scans with marks near nodules, on excluded findings and elsewhere, with ties."""
    rng = np.random.default_rng(seed)
    all_marks, all_nodules, all_excluded = [], [], []
    for _ in range(count):
        nodules = rng.uniform(0, 60, (rng.integers(0, 4), 4))
        nodules[:, 3] = rng.uniform(3, 30, len(nodules))
        if len(nodules) and rng.random() < 0.2:
            nodules[0, 3] = -1
        excluded = rng.uniform(0, 60, (rng.integers(0, 3), 4))
        excluded[:, 3] = np.where(rng.random(len(excluded)) < 0.5, -1, 8)
        points = [rng.uniform(0, 60, (rng.choice([0, 5, 140]), 3))]
        points += [n[:3] + rng.normal(0, 3, (3, 3)) for n in [*nodules, *excluded]]
        points = np.concatenate(points)
        scores = np.round(rng.random(len(points)), 2)  # with ties
        all_marks.append(np.column_stack([scores, points]))
        all_nodules.append(nodules)
        all_excluded.append(excluded)
    return all_marks, all_nodules, all_excluded


@pytest.mark.parametrize("seed", range(30))
def test_the_curve_is_that_of_the_challenge(seed):
    data = scans(seed)
    curve = froc(judge(*data))
    fps, sensitivity = reference(*data)
    grid = np.linspace(0.0003, 40, 4001)  # not where the curve jumps
    ours = np.interp(grid, curve.false_marks, curve.sensitivity)
    np.testing.assert_allclose(ours, np.interp(grid, fps, sensitivity), atol=1e-12)
    expected = np.mean([np.interp(p, fps, sensitivity) for p in OPERATING_POINTS])
    assert curve.cpm == pytest.approx(expected, abs=1e-12)


def test_small_cases_by_hand():
    nodule = np.array([[0.0, 0, 0, 10]])
    on_the_edge = np.array([[0.9, 5.0, 0, 0]])
    assert froc(judge([on_the_edge], [nodule])).at(8) == 0  # the distance must be less
    inside = np.array([[0.9, 4.9, 0, 0], [0.8, 0, 0, 0], [0.7, 30, 0, 0]])
    curve = froc(judge([inside], [nodule]))
    np.testing.assert_allclose(curve.false_marks, [0, 0, 1])
    np.testing.assert_allclose(curve.sensitivity, [0, 1, 1])
    excluded = np.array([[30.0, 0, 0, -1]])
    assert len(judge([inside], [nodule], [excluded]).hits) == 1
    two = np.array([[0.0, 0, 0, 10], [0, 0, 6, 10]])
    assert judge([np.array([[0.5, 0, 0, 3]])], [two]).hits.tolist() == [True, True]


def test_scans_without_nodules_count_as_scans():
    marks = [np.array([[0.9, 0.0, 0, 0]]), np.array([[0.5, 0.0, 0, 0]])]
    nodules = [np.array([[0.0, 0, 0, 5]]), np.zeros((0, 4))]
    assert froc(judge(marks, nodules)).false_marks[-1] == 0.5


def test_a_threshold_keeps_its_promise():
    judged = judge(*scans(3))
    curve = froc(judged)
    for allowed in (0.1, 0.5, 2):
        threshold = curve.threshold(allowed)
        false = (judged.scores[~judged.hits] >= threshold).sum() / len(judged.nodules)
        assert false <= allowed


def test_resampling_scans_repeats_their_marks():
    judged = judge(*scans(5))
    index = np.array([3, 3, 0, 7])
    chosen = judged.select(index)
    parts = [judged.select(np.array([i])) for i in index]
    np.testing.assert_array_equal(
        chosen.scores, np.concatenate([p.scores for p in parts])
    )
    np.testing.assert_array_equal(chosen.best, np.concatenate([p.best for p in parts]))
    everything = judged.select(np.arange(len(judged.nodules)))
    assert cpm(everything) == pytest.approx(cpm(judged))
    low, high = bootstrap(judged, cpm, repeats=200)
    assert low < cpm(judged) < high
    assert bootstrap(judged, sensitivity_at(1), 50) == bootstrap(
        judged, sensitivity_at(1), 50
    )


def test_bad_input_gets_a_sentence():
    one = np.array([[0.0, 0, 0, 5]])
    with pytest.raises(ValueError, match="one array per scan"):
        judge([one], [one, one])
    with pytest.raises(ValueError, match=r"shape \[N, 4\]"):
        judge([np.zeros((2, 3))], [one])
    with pytest.raises(ValueError, match="finite"):
        judge([np.array([[np.nan, 0, 0, 0]])], [one])
    with pytest.raises(ValueError, match="at least one nodule"):
        judge([one], [np.zeros((0, 4))])


def test_the_metrics_of_a_card_have_intervals_that_contain_them():
    judgment = judge(*scans(0))
    metrics = evaluate.metrics(judgment)
    assert metrics["cpm"]["value"] == pytest.approx(froc(judgment).cpm, abs=1e-4)
    assert metrics["sensitivity_at_0.8"]["n"] == judgment.nodules.sum()
    for each in metrics.values():
        assert each["low"] <= each["value"] <= each["high"]


def test_marks_are_saved_and_read(tmp_path):
    rng = np.random.default_rng(0)
    results = [
        evaluate.Marked(rng.random((n, 5)), rng.random((2, 4)), np.zeros((0, 4)))
        for n in (3, 0)
    ]
    evaluate.save(results, tmp_path / "marks.jsonl")
    for a, b in zip(results, evaluate.load(tmp_path / "marks.jsonl"), strict=True):
        for name, array in vars(a).items():
            np.testing.assert_allclose(getattr(b, name), array, atol=5e-5)
            assert getattr(b, name).shape == array.shape
