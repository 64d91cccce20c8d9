"""The audit: references pass, the empty starter earns nothing, wrong answers fail."""

import dataclasses
import inspect
import itertools
import math
import os
import re
import secrets
import time

import pytest
import torch
from torch import nn

from deepseek_learn.catalog import LANGUAGES, messages
from deepseek_learn.course import checking, problems
from deepseek_learn.course.lessons import STAGES, lessons
from deepseek_learn.course.problem import Failed, Problem, define
from deepseek_learn.course.problems.basic_02_attention_families.paired_difference import (
    check as paired_difference,
)
from deepseek_learn.course.problems.innovation_02_engine_and_targets.a_board_of_your_own import (  # noqa: E501
    check as a_board_of_your_own,
)
from deepseek_learn.course.problems.innovation_04_beat_deepopt.your_own_rule import (
    check as your_own_rule,
)
from deepseek_learn.course.problems.practical_02_deploy.deploy_your_own import (
    check as deploy_your_own,
)
from deepseek_learn.errors import UnknownNameError
from tests.test_catalog import placeholders

pytestmark = pytest.mark.usefixtures("short_measurements")

ALL = problems.load()


def by_id(value):
    return value.id if isinstance(value, Problem) else value


def check(problem, source, seed):
    answer = define(source, problem.answer)
    return checking.check(problem.id, answer, seed=seed, record=False)


# Per test; the monthly run takes 20 s. Each run starts at another seed.
AUDIT_S = float(os.environ.get("AUDIT_SECONDS", 0.1))


def seeds(count, seconds=AUDIT_S):
    """`count` seeds from a random first one, or as many as fit in the time limit."""
    first = secrets.randbelow(2**31 - count)
    print(f"seeds from {first} on")  # pytest shows it if a test fails
    start = time.monotonic()
    for seed in range(first, first + count):
        yield seed
        if time.monotonic() - start > seconds:
            return


@pytest.mark.slow
@pytest.mark.parametrize("problem", ALL, ids=by_id)
def test_right_answers_pass_with_every_seed(problem):
    sources = {"reference": problem.reference(), **problem.right}
    answers = {name: define(s, problem.answer) for name, s in sources.items()}
    for seed in seeds(200):
        for name, answer in answers.items():
            outcome = checking.check(problem.id, answer, seed=seed, record=False)
            assert outcome.passed, (name, outcome)
            assert outcome.points == problem.points


@pytest.mark.parametrize("problem", ALL, ids=by_id)
def test_empty_starter_is_not_attempted(problem):
    outcome = check(problem, problem.starter, 0)
    assert (outcome.status, outcome.points) == ("not attempted", 0)


# Sentences for mistakes that no listed wrong answer makes.
UNREACHED = {
    "inspect_your_pictures": "columns frame",
    "mend_the_broadcast": "parameters",
    "mend_the_groups": "outside",
    "name_the_bound": "name",
    "cost_of_an_operator": "heads",
    "peak_of_the_living": "names",
    "bring_them_to_one": "swapped",
    "one_byte_a_weight": "apart",
    "find_the_front": "in",
    "area_under_the_front": "more",
    "move_on_its_scale": "linear",
    "spare_the_fewest": "missed",
    "deploy_your_own": "metric size slow",
    "split_by_module": "always_test apart boolean",
    "price_of_a_threshold": "not_a_number",
    "temperature_scaling": "number",
    "when_to_ask": "word",
    "choose_a_coreset": "last_only mean row twice",
    "resume_after_a_crash": "names unknown",
    "keep_up_with_the_belt": "order",
    "tilt_of_the_gantry": "nan",
    "judge_the_marks": "diameter edge nearest",
    "peaks_of_a_heat_map": "missing",
    "one_point_of_the_curve": "less scans",
    "inflate_a_kernel": "shape type weight",
    "average_unequal_hospitals": "names",
    "clip_and_add_noise": "deviation unclipped",
    "rounds_within_a_budget": "other",
    "find_the_poisoned_update": "finite list own",
    "membership_advantage": "either",
    "keep_the_likeliest": "each",
    "clock_without_winter": "step",
    "decide_with_a_delay": "shape",
    "unit_of_a_gyroscope": "text",
    "one_text_once": "order range",
    "learn_from_a_teacher": "gradient",
    "past_and_future": "length sequence unknown",
    "see_through_disguises": "text",
    "a_board_of_your_own": "hangs missing",
    "find_the_leak": "not_called",
    "find_the_trick": "missed seeds",
    "your_own_rule": "missing",
}


@pytest.mark.slow
@pytest.mark.parametrize("problem", ALL, ids=by_id)
def test_every_wrong_answer_fails_with_every_seed(problem, monkeypatch):
    """And each sentence is said of some wrong answer, with some seed."""
    missing = {*problem.sentences} - {*UNREACHED.get(problem.id, "").split()}
    prepare = Failed.__init__

    def note(self, key, *args, **facts):
        missing.discard(key)
        prepare(self, key, *args, **facts)

    def rare(seed):
        return missing  # more seeds, for a sentence that the first ones do not reach

    monkeypatch.setattr(Failed, "__init__", note)
    answers = {d: define(s, problem.answer) for d, s in problem.wrong.items()}
    for seed in itertools.chain(seeds(60), itertools.takewhile(rare, range(60))):
        for description, answer in answers.items():
            outcome = checking.check(problem.id, answer, seed=seed, record=False)
            assert outcome.status in ("failed", "raised"), (description, outcome)
            assert outcome.points == 0
            assert outcome.message
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("problem", ALL, ids=by_id)
def test_answer_of_the_wrong_kind_is_not_our_bug(problem):
    returned = [None, "text", (None, None), (None,) * 3, math.nan, [], torch.ones(1)]
    returned += [torch.tensor(1, dtype=torch.bfloat16), 1j, torch.ones(2).to_sparse()]
    functions = [lambda *_, value=value: value for value in returned]
    for nonsense in (3, "text", None, lambda: 0, type, nn.Identity, *functions):
        outcome = checking.check(problem.id, nonsense, seed=0, record=False)
        assert outcome.status in ("failed", "raised", "not attempted")


@pytest.mark.parametrize("problem", ALL, ids=by_id)
def test_problem_is_complete(problem):
    texts = [problem.title, problem.prompt, *problem.hints]
    assert all(words[lang].strip() for words in texts for lang in LANGUAGES)
    assert all(words["en"] != words["zh"] for words in texts)
    assert len(problem.hints) >= 2
    assert len(problem.wrong) >= 2
    assert "..." in problem.starter
    assert problem.points > 0
    assert problem.stage in STAGES


def test_every_folder_stands_in_the_list_of_lessons():
    folder = problems.FOLDER
    folders = {
        str(path.parent.relative_to(folder)) for path in folder.rglob("check.py")
    }
    listed = {
        f"{each.stage}_{each.number}_{each.slug}/{id}"
        for each in lessons()
        for id in each.problems
    }
    assert folders == listed
    for each in lessons():
        for problem in problems.load(each.slug):
            assert (problem.lesson, problem.stage) == (each.slug, each.stage)
            assert problem.id in each.problems


@pytest.mark.parametrize("problem", ALL, ids=by_id)
def test_a_checks_sentences_are_those_of_its_words(problem):
    source = inspect.getsource(inspect.getmodule(problem.check))
    keys = set(re.findall(r'Failed\(\s*"([\w.]+)"', source))
    assert keys <= {*problem.sentences, *messages()}
    for name, words in problem.sentences.items():
        assert re.search(rf"\b{name}\b", source), f"no check says {name!r}"
        assert placeholders(words["en"]) == placeholders(words["zh"])


def test_unknown_problem_is_one_sentence():
    with pytest.raises(
        UnknownNameError, match="problem 'nope' is not known; the known names are"
    ):
        problems.get("nope")


def test_points_of_students_t_are_right():
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with scikit-learn")
    table = define(problems.get("paired_difference").starter, "T_975")
    assert table == paired_difference.T_975
    for df, point in table.items():
        assert point == pytest.approx(stats.t.ppf(0.975, df), abs=5e-5)


def test_rounding_that_the_hint_warns_of_really_happens():
    hint = problems.get("threshold_for_recall").hints[2]
    assert all("`(1 - 0.8) * 5`" in hint[lang] for lang in LANGUAGES)
    assert all(str((1 - 0.8) * 5) in hint[lang] for lang in LANGUAGES)


def test_script_that_waits_is_ended_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(a_board_of_your_own, "SECONDS", 0.3)
    script = tmp_path / "install.sh"
    script.write_text("#!/bin/sh\nexec sleep 100\n")
    script.chmod(0o755)
    with pytest.raises(Failed, match="hangs"):
        a_board_of_your_own.run(script, tmp_path)


def test_verification_that_waits_is_ended_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(deploy_your_own, "SECONDS", 0.3)
    folder = tmp_path / "deployed"
    folder.mkdir()
    (folder / "verify.sh").write_text("exec sleep 100\n")
    with pytest.raises(Failed, match="slow"):
        deploy_your_own.run(folder)


@pytest.mark.parametrize("name", ["weight", "errors", "statistics.frequency"])
def test_criterion_that_changes_its_layer_is_told(name):
    problem = problems.get("beat_frequency")
    change = f"def criterion(layer):\n    layer.{name}.mul_(0.5)\n"
    source = problem.reference().replace("def criterion(layer):\n", change)
    outcome = check(problem, source, 0)
    assert outcome.status == "failed"
    assert f"modified its argument `layer.{name}`" in outcome.message


def graded(**changes) -> Problem:
    kept = {"solution": None, "right": {}, "kind": "graded", "id": "kept_back"}
    kept |= changes
    return dataclasses.replace(problems.get("shift_sum"), **kept)


def test_graded_solution_comes_from_the_checkout_only(tmp_path):
    problem = graded()
    assert problem.reference(tmp_path) is None
    folder = tmp_path / "exercises" / "graded"
    folder.mkdir(parents=True)
    (folder / "kept_back.py").write_text("def shift_sum(taps): return 1\n")
    assert "return 1" in problem.reference(tmp_path)


def test_graded_problem_with_right_answers_is_refused():
    with pytest.raises(ValueError, match="would give its solution away"):
        graded(right={"in NumPy": "def shift_sum(taps): return 1"})


def test_graded_problem_with_a_solution_is_refused():
    with pytest.raises(ValueError, match=r"exercises/graded/kept_back\.py"):
        graded(solution="def shift_sum(taps): return 1")


def test_adamw_that_a_rule_is_compared_with_is_torchs():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 5, 7, generator=generator)
    own, theirs = start.clone(), start.clone().requires_grad_()
    rule, optimizer = your_own_rule.AdamW(own), torch.optim.AdamW([theirs])
    for step in range(1, 30):
        gradient = torch.randn(start.shape, generator=generator)
        theirs.grad, optimizer.param_groups[0]["lr"] = gradient, 0.1 / step
        optimizer.step()
        rule.step(own, gradient, 0.1 / step, step)
    torch.testing.assert_close(own, theirs.detach())


def test_a_mistake_without_a_sentence_is_not_named_as_another():
    problem = problems.get("gradient_by_hand")
    named = {key: words["en"] for key, words in problem.sentences.items()}
    for description in ("transposed weights", "the mean for the bias"):
        for seed in range(20):
            outcome = check(problem, problem.wrong[description], seed)
            assert outcome.status == "failed"
            assert not [k for k, words in named.items() if words in outcome.message]
