"""A study's results, against values worked out by hand."""

import json
import math
import tomllib

import numpy as np
import optuna
import pandas as pd
import pytest

from deepseek_learn import catalog
from deepseek_learn.tuner import AutoTuner, Measured, Study, TunerError, volume

# number → error, latency. 0, 2, 3 are the front; 1 is dominated by 0, 4 by 2.
TABLE = [(0.1, 8.0), (0.1, 9.0), (0.2, 4.0), (0.4, 2.0), (0.5, 4.0)]


def tabled(rows, names=("error", "latency_ms"), maximize=(), objective=None, **options):
    """A study whose trial n has the results `rows[n]`."""

    def look_up(trial):
        values = rows[trial["row"]]
        return values if isinstance(values, dict) else dict(zip(order, values))  # noqa: B905

    minimize = [name for name in names if name not in maximize]
    order = names
    space = {"row": [*range(len(rows))], "lr": (0.1, 1.0)}
    tuner = AutoTuner(objective or look_up, space, minimize, maximize, **options)
    for row in range(len(rows)):
        tuner.enqueue({"row": row, "lr": 0.5})
    return tuner.run(len(rows), progress=False)


def numbers(solutions):
    return [solution.number for solution in solutions]


@pytest.fixture(scope="module")
def table():
    return tabled(TABLE)


def test_front_knee_and_best(table):
    assert numbers(table.front) == [0, 2, 3]
    # scaled (0, 1), (1/3, 1/3), (1, 0): squared distances 1, 2/9, 1
    assert table.knee().number == 2
    assert table.best().number == 2
    assert table.best({"error": 1}).number == 0
    assert table.best({"latency_ms": 2, "error": 0}).number == 3
    assert table.best({"error": 3, "latency_ms": 1}).number == 0  # 1 < 4/3 < 3
    assert table.knee().config == {"row": 2, "lr": 0.5}
    assert table.knee().results["error"] == Measured(0.2)


def test_maximized_objectives_are_turned(table):
    rows = [(1 - error, latency) for error, latency in TABLE]
    turned = tabled(rows, ("accuracy", "latency_ms"), maximize=("accuracy",))
    assert turned.goals.names == ("latency_ms", "accuracy")
    assert sorted(numbers(turned.front)) == [0, 2, 3]
    assert turned.knee().number == 2
    assert turned.best({"accuracy": 1}).number == 0
    assert turned.hypervolume() == pytest.approx(table.hypervolume())


def test_hypervolume_is_the_dominated_share_of_the_box(table):
    # corners (0.1, 2) and (0.5 + 0.04, 9 + 0.7): 0.44 x 7.7
    area = 0.1 * (9.7 - 8) + 0.2 * (9.7 - 4) + 0.14 * (9.7 - 2)
    assert table.hypervolume() == pytest.approx(area / (0.44 * 7.7))
    corners = {"error": 0.3, "latency_ms": 10.0}, {"error": 0.0, "latency_ms": 0.0}
    area = 0.1 * (10 - 8) + 0.1 * (10 - 4)
    assert table.hypervolume(*corners) == pytest.approx(area / 3)


def test_hypervolume_is_optunas_too():
    rng = np.random.default_rng(0)
    rows = [tuple(row) for row in rng.random((12, 3)) + 0.5]
    study = tabled(rows, ("a", "b", "c"))
    best, worst = volume.box(study)
    peer = optuna._hypervolume.compute_hypervolume(np.array(rows), worst)
    assert study.hypervolume() == pytest.approx(peer / np.prod(worst - best))


def test_history_grows_to_the_hypervolume(table):
    history = table.history()
    assert history.index.tolist() == [*range(5)]
    assert (history.diff().dropna() >= 0).all()
    assert history[0] == history[1]  # dominated, adds nothing
    assert history.iloc[-1] == pytest.approx(table.hypervolume())


def test_history_is_zero_before_a_trial_keeps_the_limits():
    history = tabled(TABLE, limits={"latency_ms": 5}).history()
    assert history.tolist()[:2] == [0, 0]
    assert history[2] > 0


@pytest.mark.parametrize(
    ("corners", "said"),
    [
        (({"error": 1},), "reference must have a value for each of"),
        ((None, {"latency_ms": 1}), "ideal must have a value for each of"),
        (({"error": 0.05, "latency_ms": 9},), "ideal must be better than reference"),
    ],
)
def test_hypervolume_refuses_other_corners(table, corners, said):
    with pytest.raises(ValueError, match=said):
        table.hypervolume(*corners)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"size": 1}, r"weights must name objectives, .*; got \['size'\]"),
        ({"error": -1}, "must not be negative"),
        ({"error": 0}, "one must be above 0"),
        ({"error": math.nan}, "must not be negative"),
        ({}, "one must be above 0"),
    ],
)
def test_best_refuses_other_weights(table, weights, said):
    with pytest.raises(ValueError, match=said):
        table.best(weights)


def test_frame_has_a_row_a_trial(table):
    frame = table.to_frame()
    columns = ["row", "lr", "error", "latency_ms", "state", "on_front", "seconds"]
    assert frame.columns.tolist() == columns
    assert frame["error"].tolist() == [row[0] for row in TABLE]
    assert frame.index[frame["on_front"]].tolist() == [0, 2, 3]
    assert (frame["state"] == "complete").all()


def test_frame_has_intervals_units_and_sources():
    rows = [
        {"error": Measured(0.1, 0.05, 0.2), "energy_j": Measured(3, source="rapl")},
        {"error": 0.2, "energy_j": Measured(2, 1, 4, "J", "estimate")},
        {"error": 0.3, "energy_j": 1.0},
    ]
    frame = tabled(rows, ("error", "energy_j")).to_frame()
    assert frame["error_low"].tolist()[0] == 0.05
    assert math.isnan(frame["error_high"][1])
    assert frame["energy_j_source"].tolist() == ["rapl", "estimate", "not stated"]
    assert frame["energy_j_unit"][1] == "J"
    assert "error_source" not in frame


def test_limits_decide_who_is_on_the_front():
    study = tabled(TABLE, limits={"latency_ms": 5})
    assert numbers(study.feasible) == [2, 3, 4]
    assert numbers(study.front) == [2, 3]
    assert study.to_frame()["feasible"].tolist() == [False, False, True, True, True]


def test_a_study_in_which_nothing_keeps_the_limits():
    study = tabled(TABLE, limits={"latency_ms": 1, "error": 0.05})
    assert study.front == ()
    assert study.hypervolume() == 0
    # relative to the limits: trial 0 exceeds by 7, trial 2 by 3
    assert "No trial met the limits (latency_ms ≤ 1, error ≤ 0.05)" in study.why()
    assert "trial 2 came closest, with latency_ms 4, error 0.2" in study.why()
    for ask in (study.knee, study.best, lambda: study.export("a.json")):
        with pytest.raises(
            TunerError, match=r"study 'study' has no solution: .*limits"
        ):
            ask()
    assert len(study.plot().data) == 2  # no front, but the trials


def test_an_empty_study_says_so():
    study = AutoTuner(lambda trial: {}, {"a": [1]}, ("error",)).snapshot()
    assert len(study.to_frame()) == 0
    assert len(study.failures()) == 0
    assert study.history().empty
    assert "Of 0 finished trials, 0 gave a result" in study.why()
    assert study._repr_html_().startswith("<p>")
    assert len(study.plot_history().data) == 1
    study.plot()
    with pytest.raises(ValueError, match="importances need at least 4 results"):
        study.importances()


def test_one_objective_and_one_solution():
    study = tabled([(0.3,), (0.1,), (0.2,)], ("error",))
    assert numbers(study.front) == [1]
    assert study.hypervolume() == pytest.approx(1)
    assert (
        "Trial 1 is best in every objective: error 0.1 (row 1, lr 0.5)" in study.why()
    )
    assert study.plot().layout.xaxis.title.text == "trial"


def test_ties_are_all_on_the_front():
    assert numbers(tabled([(1, 1), (1, 1), (1, 1)]).front) == [0, 1, 2]
    assert tabled([(1, 1), (1, 1)]).hypervolume() == pytest.approx(1)


def searched(rows=60, noise=0.0, seed=0):
    """`signal` alone determines the error, `width` alone the latency."""
    rng = np.random.default_rng(seed)

    def objective(trial):
        error = trial["signal"] ** 2 + noise * rng.random()
        return {"error": error, "latency_ms": trial["width"], "speed": -error}

    space = {"signal": (0.0, 1.0), "width": [1, 2, 4, 8], "idle": (0.0, 1.0)}
    sampler = optuna.samplers.RandomSampler(seed=seed)
    return AutoTuner(
        objective, space, ("error", "latency_ms"), ("speed",), sampler=sampler
    ).run(rows, progress=False)


@pytest.mark.parametrize("evaluator", ["ped_anova", "fanova"])
def test_importances_find_what_decides(evaluator):
    shares = searched().importances(evaluator)
    first = {objective: next(iter(of_one)) for objective, of_one in shares.items()}
    assert first == {"error": "signal", "latency_ms": "width", "speed": "signal"}
    for of_one in shares.values():
        whole = sum(of_one.values())  # main effects exclude interactions
        assert whole == pytest.approx(1, abs=0.1 if evaluator == "fanova" else 1e-9)
        assert set(of_one) == {"signal", "width", "idle"}
        assert [*of_one.values()] == sorted(of_one.values(), reverse=True)


def test_a_constant_objective_has_no_cause_and_a_single_value_is_none():
    only = optuna.distributions.FloatDistribution(0.1, 0.1)
    space = {"x": (0.0, 1.0), "fixed": only}
    objective = lambda trial: {"e": 1.0, "f": trial["x"]}  # noqa: E731
    study = AutoTuner(objective, space, ("e", "f")).run(12, progress=False)
    shares = study.importances()
    assert set(shares["e"].values()) == {0.0}
    assert shares["f"]["fixed"] < 1e-20
    assert shares["f"]["x"] == pytest.approx(1)
    assert study.steadiness["e"] == 0
    assert "No hyperparameter changes e." in study.why()


def test_importances_refuse():
    with pytest.raises(ValueError, match=r"evaluator must be one of .*; got 'shap'"):
        searched(5).importances("shap")
    with pytest.raises(ValueError, match="at least 4 results; the study has 3"):
        searched(3).importances()


@pytest.mark.slow
def test_why_tells_whether_importances_can_be_trusted():
    message = searched(80).why()
    assert "For error, signal matters most" in message
    assert "are rough" not in message
    assert "With 12 results, importances are rough" in searched(12).why()

    def noise(trial, rng=np.random.default_rng(1)):  # noqa: B008
        return {"error": rng.random()}

    space = dict.fromkeys("abcdefgh", (0.0, 1.0))
    sampler = optuna.samplers.RandomSampler(seed=0)
    drawn = AutoTuner(noise, space, ("error",), sampler=sampler)
    assert "do not rely on it" in drawn.run(40, progress=False).why()


def test_why_tells_what_bought_what(table):
    assert table.why().startswith(
        "Of 5 finished trials, 5 gave a result, 0 were stopped early and 0 failed; the "
        "Pareto front holds 3. From the best error (trial 0) to the best "
        "latency_ms (trial 3), error goes from 0.1 to 0.4 and latency_ms from 8 to 2; "
        "what changes is row 0 → 3. The compromise closest to the best of every "
        "objective is trial 2: error 0.2, latency_ms 4 (row 2, lr 0.5)."
    )


def test_why_counts_each_kind_of_trial():
    """5 results, of which 3 are on the front, 4 stopped trials and 2 failures."""

    def objective(trial):
        if trial["row"] >= 9:
            raise ArithmeticError("too hot")
        if trial["row"] >= 5:
            raise optuna.TrialPruned
        return dict(zip(("error", "latency_ms"), TABLE[trial["row"]], strict=True))

    study = tabled([*TABLE, *range(6)], objective=objective)
    counts = "Of 11 finished trials, 5 gave a result, 4 were stopped early and 2 failed"
    assert study.why().startswith(f"{counts}; the Pareto front holds 3.")
    assert "too hot" in study.why()
    states = study.to_frame()["state"].value_counts().to_dict()
    assert states == {"complete": 5, "pruned": 4, "failed": 2}


def test_the_most_frequent_failure_is_named():
    def objective(trial):
        if trial["row"] >= 3:
            raise ArithmeticError("too hot" if trial["row"] == 3 else "too cold")
        return {"error": trial["row"]}

    message = tabled(range(6), ("error",), objective=objective).why()
    assert "The most frequent failure (2×) is: ArithmeticError: too cold" in message


def test_why_goes_from_one_best_to_the_other_where_more_is_better():
    rows = [(1 - error, latency) for error, latency in TABLE]
    study = tabled(rows, ("accuracy", "latency_ms"), maximize=("accuracy",))
    assert (
        "From the best latency_ms (trial 3) to the best accuracy (trial 0), latency_ms "
        "goes from 2 to 8 and accuracy from 0.6 to 0.9"
    ) in study.why()


def test_why_tells_importances_from_the_fourth_result_on():
    assert "importances are rough" not in tabled(TABLE[:3]).why()
    assert "With 4 results, importances are rough" in tabled(TABLE[:4]).why()


@pytest.mark.parametrize(("results", "rough"), [(49, True), (50, False)])
def test_importances_are_rough_up_to_fifty_results(results, rough):
    assert ("are rough" in searched(results).why()) == rough


def test_a_result_that_is_not_finite_was_not_stopped_early():
    tuner = AutoTuner(lambda trial: {}, {"x": [1, 2]}, ("error",))
    for value in (1.0, math.inf):
        tuner.study.tell(tuner.study.ask(), value)
    message = tuner.snapshot().why()
    assert "Of 2 finished trials, 1 gave a result, 0 were stopped early" in message


def test_why_speaks_chinese(table):
    catalog.set_language("zh")
    assert "帕累托前沿" in table.why()
    assert "折中点" in [trace.name for trace in table.plot().data]


@pytest.mark.parametrize(
    ("source", "said", "title"),
    [
        ("estimate", "energy_j is an estimate", "energy_j, J (estimate)"),
        ("rapl", "the processor's counter", "energy_j, J (processor counter, rapl)"),
        ("nvml", "the GPU's counter", "energy_j, J (GPU counter, nvml)"),
        ("meter", "energy_j comes from: meter", "energy_j, J (meter)"),
        ("", "The objective did not state", "energy_j, J (source not stated)"),
    ],
)
def test_energy_always_carries_its_source(source, said, title):
    rows = [
        {"error": e, "energy_j": Measured(1 / e, unit="J", source=source)}
        for e in (0.1, 0.2)
    ]
    study = tabled(rows, ("error", "energy_j"))
    assert said in study.why()
    assert study.plot().layout.yaxis.title.text == title
    assert study.to_frame()["energy_j_source"].tolist() == [source or "not stated"] * 2


def test_energy_of_several_sources_is_not_compared():
    sources = ("rapl", "rapl", "estimate")
    rows = [
        {"error": 1 / (i + 1), "energy_j": Measured(i + 1, unit="J", source=source)}
        for i, source in enumerate(sources)
    ]
    study = tabled(rows, ("error", "energy_j"))
    assert study.sources("energy_j") == ("rapl", "estimate")
    assert "several sources (rapl, estimate)" in study.why()


def traces(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def test_plot_shows_front_others_and_configurations(table):
    shown = traces(table.plot())
    assert set(shown) == {"dominated", "Pareto front", "knee"}
    assert [*shown["Pareto front"].x] == [0.1, 0.2, 0.4]
    assert [*shown["dominated"].y] == [9.0, 4.0]
    assert [*shown["knee"].x] == [0.2]
    hover = shown["Pareto front"].hovertext[1]
    assert "trial 2" in hover
    assert "row = 2" in hover
    assert "latency_ms: 4" in hover
    gray = shown["dominated"].marker.color[1:]
    assert gray[:2] == gray[2:4] == gray[4:]


def test_plot_draws_intervals_and_what_is_over_a_limit():
    rows = [
        {"error": Measured(0.2, 0.15, 0.3), "latency_ms": 2},
        {"error": 0.1, "latency_ms": 4},
        {"error": 0.05, "latency_ms": 90},
    ]
    shown = traces(tabled(rows, limits={"latency_ms": 10}).plot())
    assert [*shown["over a limit"].y] == [90]
    assert [*shown["Pareto front"].error_x.array] == pytest.approx([0, 0.1])
    assert [*shown["Pareto front"].error_x.arrayminus] == pytest.approx([0, 0.05])


def test_stairs_border_what_the_front_dominates(table):
    (stairs,) = [trace for trace in table.plot().data if trace.mode == "lines"]
    assert [*stairs.x] == [0.1, 0.2, 0.4]
    assert stairs.line.shape == "hv"
    rows = [(1 - e, t) for e, t in TABLE]
    best = tabled(rows, ("accuracy", "speed"), maximize=("accuracy", "speed"))
    (stairs,) = [trace for trace in best.plot().data if trace.mode == "lines"]
    assert stairs.line.shape == "vh"


def test_wide_ranges_are_drawn_logarithmic():
    study = tabled([(0.1, 1.0), (0.09, 100.0)])
    axis = study.plot().layout.yaxis
    assert axis.type == "log"
    assert axis.ticktext[:4] == ("1", "2", "5", "10")
    assert axis.tickvals[3] == pytest.approx(10)
    assert study.plot().layout.xaxis.type is None


def test_three_objectives_are_drawn_in_space():
    rows = [(1, 2, 3, 1), (2, 1, 3, 2), (3, 3, 1, 3)]
    study = tabled(rows, ("a", "b", "c", "d"))
    assert {trace.type for trace in study.plot().data} == {"scatter3d"}
    assert study.plot().layout.scene.zaxis.title.text == "c"
    flat = study.plot(("d", "a"))
    assert {trace.type for trace in flat.data} == {"scatter"}
    assert flat.layout.xaxis.title.text == "d"
    for wrong in (("a", "x"), ("a", "a"), (), ("a", "b", "c", "d")):
        with pytest.raises(ValueError, match="objectives must be one to three of"):
            study.plot(wrong)


def test_the_other_plots():
    study = searched(20)
    (line,) = study.plot_history().data
    assert [*line.y] == study.history().tolist()
    bars = traces(study.plot_importances())
    assert set(bars) == {"error", "latency_ms", "speed"}
    shares = study.importances()["error"]
    assert dict(zip(bars["error"].y, bars["error"].x, strict=True)) == shares
    fanova = study.plot_importances("fanova")
    assert "fANOVA" in fanova.layout.xaxis.title.text


def test_a_notebook_shows_reason_and_front(table):
    page = table._repr_html_()
    assert page.startswith("<p>Of 5 finished trials")
    assert page.split("<tbody>")[1].count("<tr>") == 3
    many = tabled([(i, 40 - i) for i in range(30)])
    assert many._repr_html_().split("<tbody>")[1].count("<tr>") == 20


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_export_reads_back(tmp_path, kind):
    rows = [
        {"error": Measured(0.1, 0.05, 0.2, source='a "b"\x7f'), "size mib": 3},
        {"error": 0.2, "size mib": 1},
    ]
    study = tabled(rows, ("error", "size mib"))
    path = study.export(tmp_path / "new" / f"config.{kind}", study.best({"error": 1}))
    read = json.loads if kind == "json" else tomllib.loads
    assert read(path.read_text()) == {
        "study": "study",
        "trial": 0,
        "config": {"row": 0, "lr": 0.5},
        "results": {
            "error": {"value": 0.1, "low": 0.05, "high": 0.2, "source": 'a "b"\x7f'},
            "size mib": {"value": 3.0},
        },
    }
    assert read(study.export(path).read_text())["trial"] == study.knee().number


def test_export_refuses_and_leaves_the_old_file(tmp_path, table):
    with pytest.raises(ValueError, match=r"must end in .json or .toml; got '.*\.yaml'"):
        table.export(tmp_path / "config.yaml")
    path = tmp_path / "config.toml"
    path.write_text("old")
    tuner = AutoTuner(lambda trial: {"error": 1}, {"act": [None]}, ("error",))
    study = tuner.run(1, progress=False)
    with pytest.raises(ValueError, match="'act' is None, which TOML cannot represent"):
        study.export(path)
    assert path.read_text() == "old"
    assert json.loads(study.export(tmp_path / "c.json").read_text())["config"] == {
        "act": None
    }


@pytest.mark.parametrize("url", [False, True])
def test_a_study_is_loaded_as_it_was(tmp_path, url):
    storage = f"sqlite:///{tmp_path}/s.db" if url else tmp_path / "s.journal"
    saved = tabled(TABLE, limits={"error": 0.45}, storage=storage, name="mine")
    loaded = Study.load(storage, "mine")
    pd.testing.assert_frame_equal(loaded.to_frame(), saved.to_frame())
    assert loaded.goals == saved.goals
    assert loaded.space == saved.space
    assert loaded.why() == saved.why()
    with pytest.raises(TunerError, match="no study 'other'; its studies are: mine"):
        Study.load(storage, "other")


def test_load_writes_nothing(tmp_path, monkeypatch):
    """An archived study may be read-only, and workers may be writing."""
    path = tmp_path / "s.journal"
    tabled(TABLE, storage=path)
    with path.open("a") as file:
        file.write('{"op_code": 4, "worker_id": "half a li')

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    lock = optuna.storages.journal.JournalFileSymlinkLock
    monkeypatch.setattr(lock, "acquire", refuse)
    before = path.read_bytes()
    assert len(Study.load(path).complete) == len(TABLE)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_load_refuses(tmp_path):
    with pytest.raises(TunerError, match=r"there is no file .*none\.journal"):
        Study.load(tmp_path / "none.journal")
    assert list(tmp_path.iterdir()) == []
    url = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(storage=url, study_name="study")
    with pytest.raises(TunerError, match="was not created by AutoTuner"):
        Study.load(url)
