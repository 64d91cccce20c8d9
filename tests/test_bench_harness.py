"""What the benchmark scripts share: one main, one resume rule, one home of intervals."""

import ast
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.ledger.results import read_result
from deepseek_learn.ledger.rows import Row

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts_path(monkeypatch):
    """As when a script runs: its folder is on the path."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """`harness.script`, with all results in a temporary folder."""
    from harness import script

    monkeypatch.setattr(script, "RESULTS", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(script.results, "REPOSITORY", tmp_path)
    return script


@pytest.fixture
def call(harness, monkeypatch):
    """`call(measure, "--quick", quick=..., ...)`: run a script with these options."""

    def run(measure, *options, **facts):
        facts = {"quick": "one round"} | facts
        monkeypatch.setattr(sys, "argv", ["toy.py", *options])
        harness.Script("benchmarks/toy.py", "A toy.\n\nProtocol.", **facts).main(
            measure
        )
        folder = harness.RESULTS / ("quick" if "--quick" in options else "")
        return folder / "toy.json"

    return run


def row(**changes):
    facts = {"claim": "C5", "source": "ours", "what": "pace", "unit": "x"}
    return Row(**facts | {"better": "higher", "measured": 2.0} | changes)


def test_a_script_writes_what_it_measured(call, capsys):
    path = call(lambda run: [row(note="so")])
    result = read_result(path)
    assert (result.name, result.mode, result.protocol) == (
        "toy",
        "full",
        "A toy.\n\nProtocol.",
    )
    assert result.command == "python benchmarks/toy.py"
    assert [r.what for r in result.rows] == ["pace"]
    assert "pace: 2 x (so)" in capsys.readouterr().out


def test_a_quick_run_starts_anew_and_leaves_the_full_result(call):
    measured = []

    def measure(run):
        line = run.finished_runs().once(
            {"net": "a"}, lambda: measured.append(1) or {"x": 2.0}
        )
        yield row(measured=line["x"])

    full = call(measure)
    before = full.read_bytes()
    for expected in (2, 3):
        assert read_result(call(measure, "--quick")).mode == "quick"
        assert len(measured) == expected
    assert full.read_bytes() == before
    call(measure)
    assert len(measured) == 3  # the finished run counts
    call(measure, "--anew", anew=True)
    assert len(measured) == 4


def test_a_speed_reading_is_added_to_the_full_result(call):
    rows = [row().at("2026-11-25T08:00:00Z"), row(what="bytes")]
    call(lambda run: rows, speed=True)
    path = call(lambda run: [row(measured=3.0).at("2026-11-26")], "--speed", speed=True)
    speed, other = read_result(path).rows
    assert [r.measured for r in speed.readings] == [2.0, 3.0]
    assert other.what == "bytes"


def test_parts_are_written_when_all_are_there(call):
    parts = []
    options = {"parts": ("flops", "memory")}
    path = call(
        lambda run: parts.append(run.parts) or [row()], "--part", "memory", **options
    )
    assert not path.exists()
    assert call(lambda run: parts.append(run.parts) or [row()], **options).exists()
    assert parts == [("memory",), ("flops", "memory")]


def test_a_child_measures_and_writes_nothing(call):
    words = []
    facts = {"children": {"peak": lambda *arguments: words.extend(arguments)}}
    path = call(lambda run: pytest.fail("measured"), "--peak", "net", "8", **facts)
    assert words == ["net", "8"]
    assert not path.exists()


def test_an_unknown_option_is_refused(call, capsys):
    with pytest.raises(SystemExit) as error:
        call(lambda run: [row()], "--speed")  # this script has no speed rows
    assert error.value.code == 2
    assert "unrecognized arguments: --speed" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["program", "extra", "package"])
def test_what_is_missing_is_one_sentence_and_a_code_of_its_own(
    call, harness, capsys, kind
):
    def measure(run):
        if kind == "program":
            raise harness.Skip("toy needs a kettle.")
        if kind == "extra":
            raise harness.MissingPackageError("toy needs a kettle.")
        raise ModuleNotFoundError("toy needs a kettle.", name="kettle.lid")

    with pytest.raises(SystemExit) as error:
        call(measure)
    assert error.value.code == harness.SKIPPED == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("skipped: toy needs")
    assert "kettle" in line


@pytest.mark.parametrize("name", ["deepseek_learn.dpg", "models.peers", "latent_cache"])
def test_a_missing_module_of_ours_is_a_fault(call, name):
    def measure(run):
        raise ModuleNotFoundError("no", name=name)

    with pytest.raises(ModuleNotFoundError):
        call(measure)


SCRIPT = """import sys
print({name!r}, *sys.argv[1:])
if {code}:
    print({last!r}, file=sys.stderr)
sys.exit({code})
"""


@pytest.fixture
def folder(tmp_path):
    for name, code, last in (
        ("a_fails", 1, "ValueError: no"),
        ("b_lacks", 3, "skipped: b_lacks needs headers."),
        ("c_works", 0, ""),
    ):
        text = SCRIPT.format(name=name, code=code, last=last)
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def test_all_scripts_run_and_what_did_not_is_listed_at_the_end(folder, capfd):
    from harness import all as runner

    assert runner.main(["--quick"], folder) == 1
    out = capfd.readouterr().out
    assert "c_works --quick" in out
    assert out.endswith(
        "Skipped:\n  b_lacks.py: b_lacks needs headers.\n"
        "Failed:\n  a_fails.py (exit code 1): ValueError: no\n"
    )


def test_a_skipped_script_is_no_failure_and_options_can_be_its_own(folder, capfd):
    from harness import all as runner

    assert runner.main(["c_works.py+--speed", "b_lacks.py"], folder) == 0
    out = capfd.readouterr().out
    assert "c_works --speed" in out
    assert "a_fails" not in out


VALUES = [0.31, 0.17, 0.92, 0.44, 0.58, 0.73, 0.29]


def test_quartiles_are_those_of_the_scripts_before():
    from harness.interval import quartiles

    low, median, high = statistics.quantiles(VALUES, n=4)
    assert vars(quartiles(VALUES)) == {
        "measured": median, "low": low, "high": high, "interval": "quartiles", "n": 7
    }  # fmt: skip
    inclusive = quartiles(VALUES, "inclusive")
    bounds = inclusive.low, inclusive.measured, inclusive.high
    assert bounds == pytest.approx(np.percentile(VALUES, [25, 50, 75]), rel=1e-12)


def test_students_interval_is_that_of_scipy():
    from harness.interval import student
    from scipy import stats

    mean, error = np.mean(VALUES), stats.sem(VALUES)
    low, high = stats.t.interval(0.95, len(VALUES) - 1, loc=mean, scale=error)
    estimate = student(VALUES)
    bounds = estimate.measured, estimate.low, estimate.high
    assert bounds == pytest.approx((mean, low, high), rel=1e-12)
    alone = student([0.3])
    assert (alone.low, alone.high) == (0.3, 0.3)


def test_a_bootstrap_is_that_of_scipy():
    from harness.interval import bootstrap
    from scipy import stats

    again = stats.bootstrap((VALUES,), np.median, rng=0, method="percentile")
    estimate = bootstrap(VALUES, np.median)
    assert (estimate.low, estimate.high) == pytest.approx(
        again.confidence_interval, rel=1e-12
    )
    assert (estimate.measured, estimate.n) == (statistics.median(VALUES), 7)


def test_a_range_has_the_center_that_is_asked_for():
    from harness.interval import spread

    assert vars(spread([3.0, 1.0, 5.0, 2.0])) == {
        "measured": 2.5, "low": 1.0, "high": 5.0, "interval": "range", "n": 4
    }  # fmt: skip
    assert spread([3.0, 1.0, 5.0, 2.0], center=statistics.mean).measured == 2.75


LINES = sorted((SCRIPTS / "results").glob("*.jsonl"))


@pytest.mark.parametrize("path", LINES, ids=lambda path: path.stem)
def test_finished_runs_in_the_repository_count_by_their_scripts_protocol(path):
    from harness.runs import HEADING, Runs

    name = path.name.partition(".")[0]  # a part's runs are in NAME.PART.jsonl
    source = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    protocol = ast.get_docstring(ast.parse(source), clean=False)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    count = sum(set(line) != HEADING for line in lines)
    assert 0 < len(Runs(path, protocol, anywhere=True).rows) == count


def test_the_results_in_the_repository_are_small():
    """3.9 MiB when they were packed; new readings may add some."""
    files = [path for path in LINES[0].parent.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5 * 2**20


def test_a_heading_states_protocol_and_machine_of_the_lines_below(tmp_path):
    from harness.runs import Runs

    path = tmp_path / "runs.jsonl"
    runs = Runs(path, "protocol")
    for seed in (0, 1):
        runs.once({"seed": seed}, lambda: {"loss": 1.0})
    Runs(path, "protocol").once({"seed": 2}, lambda: {"loss": 1.0})
    assert len(path.read_text().splitlines()) == 4
    Runs(path, "another").once({"seed": 3}, lambda: {"loss": 1.0})
    assert len(path.read_text().splitlines()) == 6
    again = Runs(path, "protocol").rows
    assert [row["seed"] for row in again] == [0, 1, 2]
    assert again[:2] == runs.rows
    assert {row["date"] for row in again} == {row["time"][:10] for row in again}


def test_a_truncated_heading_spoils_no_line(tmp_path):
    from harness.runs import Runs

    path = tmp_path / "runs.jsonl"
    path.write_text('{"protocol": "ab", "mach')  # a kill
    Runs(path, "protocol").once({"model": "a"}, lambda: {"loss": 1.0})
    assert [row["model"] for row in Runs(path, "protocol").rows] == ["a"]


NUMBERS = np.random.default_rng(0).normal(size=(9, 40))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.arange(300).tolist(), "u2"),
        ((np.arange(300) - 150).reshape(2, 3, 50).tolist(), "i2"),
        ([-(2**62)] * 300, "i8"),
        ([[True, False]] * 200, "b1"),
        (NUMBERS.tolist(), "f8"),
        (NUMBERS.astype("f4").tolist(), "f4"),
        (NUMBERS.round(4).tolist(), "d4"),
        ([0.1 + 0.2] * 300, "f8"),
        ([-0.0, 0.1] * 200, "f8"),  # -0.0 has no integer
        ([f"images/{i}.png" for i in range(99)], "text"),
        ([{"a": 0.5 * i, "b": "x"} for i in range(99)], "table"),
        ({str(i): [[1, 0]] * 20 for i in range(30)}, "object"),
    ],
)
def test_a_long_list_is_packed_exactly(value, kind):
    from harness.packed import pack, unpack

    packed = json.loads(json.dumps(pack(value)))
    assert packed["packed"] == kind
    assert len(json.dumps(packed)) < len(json.dumps(value))
    again = unpack(packed)
    assert json.dumps(again) == json.dumps(value)  # the types as well


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3],
        [[1] * 200, [2]],  # its parts are packed
        [1, 2.0] * 200,  # of two types
        [float("inf")] * 100,
        [None, 1] * 200,
        ["a\nb"] * 99,
        [[]] * 200,
        [{"a": 1}, {"b": 2}] * 99,
        {"a": [1] * 300, "b": "words"},
        "words" * 99,
    ],
)
def test_what_is_no_long_list_of_one_type_stays_as_it_is(value):
    from harness.packed import pack, unpack

    packed = pack(value)
    assert not isinstance(packed, dict) or "packed" not in packed
    assert json.dumps(unpack(json.loads(json.dumps(packed)))) == json.dumps(value)


def test_an_object_may_have_a_key_of_the_name_packed():
    from harness.packed import pack, unpack

    value = {"packed": [0.5 * i for i in range(99)], "int8": list(range(99)), "x": "y"}
    assert unpack(json.loads(json.dumps(pack(value)))) == value
    assert unpack({"packed": 3, "int8": 4}) == {"packed": 3, "int8": 4}
    with pytest.raises(ValueError, match="columns"):
        pack({"packed": 1, "columns": 2})


def test_of_a_false_mark_the_score_is_kept_and_the_judge_says_the_same():
    from models import marks

    from deepseek_learn.solutions.nodules import evaluate

    rng = np.random.default_rng(1)
    scans = []
    for _ in range(5):
        spheres = np.column_stack([rng.uniform(0, 300, (6, 3)), rng.uniform(4, 30, 6)])
        near = spheres[:4, :3] + rng.normal(0, 4, (4, 3))
        places = np.concatenate([near, rng.uniform(0, 300, (120, 3))])
        scores = np.sort(rng.uniform(size=124))[::-1].round(3)  # with ties
        table = np.column_stack([scores, places, rng.uniform(4, 30, 124)])
        scans.append(evaluate.Marked(table, spheres[:4], spheres[4:]))
    whole = [evaluate.Marked.from_dict(each.to_dict()) for each in scans]
    lines = [json.loads(json.dumps(marks.to_dict(each))) for each in scans]
    small = [marks.from_dict(line) for line in lines]
    assert all(len(line["near"]) < 20 and len(line["false"]) > 100 for line in lines)
    one, other = evaluate.judged(whole), evaluate.judged(small)
    for name, values in vars(one).items():
        nan = name == "best"
        assert np.array_equal(values, vars(other)[name], equal_nan=nan), name
    assert evaluate.diameters(whole) == evaluate.diameters(small) != []


def test_what_was_added_later_lets_finished_runs_count_on(tmp_path):
    from harness.runs import Runs

    path, calls = tmp_path / "runs.jsonl", []

    def measure():
        calls.append(1)
        return {"value": 7.0}

    Runs(path, "Protocol.\n").once({"model": "a"}, measure)
    Runs(path, "Protocol.\n\nAdded later: a row.\n").once({"model": "a"}, measure)
    assert len(calls) == 1
    Runs(path, "Protocol, changed.\n\nAdded later: a row.\n").once(
        {"model": "a"}, measure
    )
    assert len(calls) == 2


def test_a_reading_is_taken_beside_the_earlier_ones(tmp_path, monkeypatch):
    from harness import runs as module

    path, times = tmp_path / "runs.jsonl", iter("abcdef")
    monkeypatch.setattr(module, "now", lambda: next(times))
    runs = module.Runs(path, "protocol")
    for value in (1.0, 2.0):
        assert runs.again({"net": "a"}, lambda v=value: {"ms": v})["ms"] == value
    assert [row["ms"] for row in module.Runs(path, "protocol").rows] == [1.0, 2.0]


def test_runs_of_another_machine_count_only_where_that_is_asked(tmp_path, monkeypatch):
    from harness import runs as module

    path, here = tmp_path / "runs.jsonl", module.machine()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "machine", lambda: here | {"cpu": "another"})
        module.Runs(path, "protocol").once({"model": "a"}, lambda: {"loss": 1.0})
    assert module.Runs(path, "protocol").rows == []
    assert len(module.Runs(path, "protocol", anywhere=True).rows) == 1


def test_finished_runs_are_taken_over_whole_and_of_the_same_protocol(tmp_path):
    from harness.runs import Runs

    path, calls = tmp_path / "runs.jsonl", []

    def measure():
        calls.append(1)
        return {"value": 7.0}

    runs = Runs(path, "protocol")
    assert runs.once({"model": "a"}, measure)["value"] == 7.0
    with path.open("a") as file:
        file.write('{"model": "b", "val')  # a kill
    again = Runs(path, "protocol")
    assert again.once({"model": "a"}, measure)["value"] == 7.0
    assert len(calls) == 1
    again.once({"model": "b"}, measure)
    Runs(path, "another protocol").once({"model": "a"}, measure)
    Runs(path, "protocol", anew=True).once({"model": "a"}, measure)
    assert len(calls) == 4
