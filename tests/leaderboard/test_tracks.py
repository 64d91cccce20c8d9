"""The tracks' problems and scores, against their definitions; tiny versions of each."""

import math
import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from deepseek_learn.attention import families
from deepseek_learn.files import REPOSITORY
from deepseek_learn.leaderboard import (
    attention,
    grouping,
    pictures,
    samplers,
    update_rules,
)
from deepseek_learn.leaderboard.entry import EntryError
from deepseek_learn.leaderboard.racing import entries
from deepseek_learn.leaderboard.track import NAMES, RaceResult, derived_seed, load_track
from deepseek_learn.leaderboard.worker import load
from deepseek_learn.optim import steps_to

SEED = 123_456_789


class Here:
    """An entry in this process, which answers as it would in the sandbox."""

    def __init__(self, track: str, name: str):
        self.server = load_track(track).server()
        path = REPOSITORY / "leaderboard" / track / f"{name}.py"
        self.server.take(load(path))
        self.seconds = 0.0

    def ask(self, question, *arguments):
        return getattr(self.server, question)(*arguments)

    def cpu_seconds(self):
        self.seconds += 0.1  # one tick for each look at the clock
        return self.seconds


def measured(runner, problem, name, reference=None):
    @contextmanager
    def start():
        before = {*families.attention}
        yield Here(runner.name, name)
        for new in {*families.attention} - before:  # as if the process had ended
            families.attention.unregister(new)

    settings = entries(runner.name)[name].settings
    return runner.measure(problem, start, settings, reference)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_has_words_and_obeys_the_rules(name):
    known = entries(name)
    assert load_track(name).reference in known
    for each in known.values():
        assert set(each.title) == {"en", "zh"}
        assert each.words("title", "zh") != each.name


def test_a_derived_seed_depends_on_both_and_reveals_neither():
    seeds = {derived_seed(a, b) for a in (1, 2) for b in ("x", "y")}
    assert len(seeds) == 4
    assert min(seeds) > 2


@pytest.mark.parametrize(("make", "count"), [(samplers.mixed, 2), (samplers.sphere, 3)])
def test_the_ideal_hypervolume_is_that_of_the_front(make, count):
    """Count random points of the box that lie beyond the true front."""
    rng = np.random.default_rng(1)
    corner = np.array(make(rng).corner)
    points = rng.random((200_000, count)) * corner
    if count == 2:  # f2 = 1 - sqrt(f1), and nothing beyond f1 = 1
        beyond = points[:, 1] >= 1 - np.sqrt(np.minimum(points[:, 0], 1))
    else:
        beyond = np.linalg.norm(points, axis=1) >= 1
    volume = corner.prod() * beyond.mean()
    assert make(rng).ideal == pytest.approx(volume, rel=0.01)


def test_half_of_the_mixed_problems_are_mirrored():
    """The first objective is one of the parameters, or 1 minus it."""
    rng, mirrored = np.random.default_rng(3), 0
    for _ in range(400):
        search = samplers.mixed(rng)
        low = {e["name"]: e.get("low", "a") for e in search.space}
        mirrored += search.objectives(low)[0] == 1
    assert 160 < mirrored < 240  # 4 standard deviations


def test_the_optimum_moves_and_is_on_the_front():
    rngs = [np.random.default_rng(seed) for seed in (1, 2)]
    centers = []
    for rng in rngs:
        search = samplers.sphere(rng)
        names = [each["name"] for each in search.space]
        config = dict.fromkeys(names, 0.5)
        # descend one coordinate at a time: the radius is separable
        for name in names:
            values = np.linspace(0, 1, 201)
            radius = [
                np.linalg.norm(search.objectives(config | {name: float(v)}))
                for v in values
            ]
            config[name] = float(values[np.argmin(radius)])
        assert np.linalg.norm(search.objectives(config)) == pytest.approx(1, abs=1e-3)
        centers.append(sorted(config.values()))
    assert centers[0] != centers[1]


def test_a_sampler_gets_its_share_of_the_ideal():
    runner = samplers.SamplersTrack(trials=12)
    problem = runner.problem(SEED)
    few = measured(samplers.SamplersTrack(trials=4), problem, "random").score
    assert 0 <= few < 1
    assert 0 < measured(runner, problem, "genetic").score < 1


def test_rows_come_back_in_the_order_of_the_model():
    """A criterion that scores by weight gives the same bits as without the shuffle."""
    from deepseek_learn import dpg

    runner = grouping.GroupingTrack(calibration=16, images=32)
    problem = runner.problem(SEED)
    answers = [
        problem_layer.weight.square().mean(1) for problem_layer in problem.layers
    ]
    shuffled = [a[order] for a, order in zip(answers, problem.orders, strict=True)]
    scores = grouping._in_order(problem, shuffled)
    ours = runner._allocate(problem, scores)
    plain = dpg.allocate(problem.model, problem.calibration, 3, "magnitude")
    assert all(torch.equal(ours.bits[n], plain.bits[n]) for n in plain.bits)
    # and the whole path gives the criterion's own score
    small = dpg.simulate(problem.model, plain, problem.calibration)
    kl = grouping._kl(problem.log_p, grouping._log_p(small, problem.images))
    assert measured(runner, problem, "magnitude").score == pytest.approx(kl, rel=1e-6)


def test_the_reference_has_equal_bits_and_zero_kl_means_no_change():
    runner = grouping.GroupingTrack(calibration=16, images=32)
    problem = runner.problem(SEED)
    assert measured(runner, problem, "uniform").score > 0
    assert grouping._kl(problem.log_p, problem.log_p) == pytest.approx(0, abs=1e-12)


def test_a_module_at_the_same_pace_gets_the_same_steps(monkeypatch):
    """And one whose steps take twice as long gets half of them."""
    monkeypatch.setattr(attention.Pacemaker, "seconds", 0.1)  # the ticks of `Here`
    runner = attention.AttentionTrack(steps=40, images=64, tests=20)
    problem = runner.problem(SEED)
    base = measured(runner, problem, "none")
    assert base.facts["steps"] == 40
    assert 0 <= base.score <= 1
    entry = measured(runner, problem, "sc", base)
    assert entry.facts["steps"] == 40
    slow = RaceResult(0.5, {"pace": base.facts["pace"] / 2})
    steps = measured(runner, problem, "sc", slow).facts["steps"]
    assert steps == pytest.approx(20, abs=1)


@pytest.mark.parametrize("name", sorted(entries("attention")))
def test_a_new_process_predicts_what_the_trained_one_would(name):
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (8, 1, 40, 40), generator=generator)
    known, logits, weights = {*families.attention}, [], {}
    for trains in (True, False):
        learner = Here("attention", name).server
        learner.build(1)
        if trains:
            learner.prepare()
            for _ in range(2):
                learner.train(images, torch.arange(8), 1e-3)
            weights = learner.weights()
        else:
            learner.load(weights)
        logits.append(learner.predict(images))
        for new in {*families.attention} - known:
            families.attention.unregister(new)
    assert torch.equal(*logits)


def test_the_cores_are_given_back():
    before = os.sched_getaffinity(0)
    with attention.one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_pictures_differ_between_seeds_and_classes_are_renumbered():
    runner = attention.AttentionTrack(images=200, tests=10)
    a, b, again = (runner.problem(seed) for seed in (1, 2, 1))
    assert torch.equal(a.train, again.train)
    assert not torch.equal(a.train, b.train)
    assert not torch.equal(a.train_labels, b.train_labels)
    assert a.train.shape == (200, 1, pictures.CANVAS, pictures.CANVAS)


def test_the_rate_rises_and_falls_to_zero():
    assert attention.share(0.0) < 0.2
    assert attention.share(0.05) > 0.9
    assert attention.share(1.0) == pytest.approx(0, abs=1e-9)
    assert update_rules.linear(0, 100) == pytest.approx(0.1)
    assert 0 < update_rules.linear(99, 100) < 0.02


@pytest.mark.parametrize(
    ("losses", "budget"),
    [
        ({}, 50),
        ({50: 0.9}, 40),
        ({50: 1.1}, 65),
        ({50: 0.9, 40: 1.1}, None),
        ({50: 1.1, 65: 0.9}, None),
        ({50: 0.9, 40: 0.9, 30: 0.9}, None),
        ({50: 1.1, 65: 1.1, 80: 1.1, 100: 1.1, 120: 1.1}, None),
        ({50: math.inf}, 65),
    ],
)
def test_budgets_enclose_the_target(losses, budget):
    ladder = [round(100 * part) for part in update_rules.LADDER]
    assert update_rules.next_budget(ladder, losses, 1.0) == budget


def test_the_scorer_takes_the_steps_that_the_optimizer_would(monkeypatch):
    """The gradients and weights that travel give what a plain loop gives."""
    task = update_rules.TASKS["poems"]
    process = Here("update_rules", "sgd")
    loss = update_rules.train(task, 4, SEED, {"lr": 0.05}, process)
    torch.manual_seed(SEED % 2**31)
    model = task.build().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    batches = task.batches(torch.Generator().manual_seed(SEED))
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 0.05 * update_rules.linear(step, 4)
        x, y = next(batches)
        optimizer.zero_grad()
        update_rules._loss(model, x, y).backward()
        optimizer.step()
    plain = update_rules.evaluate(task, model, SEED, "test")
    assert loss == pytest.approx(plain, rel=1e-5)


def test_the_reference_sets_the_loss_and_itself_needs_all_its_steps():
    runner = update_rules.UpdateRulesTrack(steps={"poems": 10})
    base = measured(runner, SEED, "adamw")
    assert base.score == 1
    again = measured(runner, SEED, "adamw", base).facts["ratios"]["poems"]
    # its own run with all ten steps reaches its own loss exactly
    assert again <= 1
    target = base.facts["losses"]["poems"]
    assert steps_to(target, {10: target}) == 10


def test_weights_that_are_no_numbers_are_refused():
    weights = dict(torch.nn.Linear(2, 2).named_parameters())
    good = {name: p.detach() for name, p in weights.items()}
    bad = good | {"bias": torch.tensor([0.0, float("nan")])}
    with pytest.raises(EntryError, match="weights of bias became NaN"):
        update_rules._copy(bad, weights)
    with pytest.raises(EntryError, match="changed the shape"):
        update_rules._copy(good | {"bias": torch.zeros(3)}, weights)
    with pytest.raises(EntryError, match="did not follow the protocol"):
        update_rules._copy({"bias": good["bias"]}, weights)
