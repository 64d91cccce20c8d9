"""The profiler's benchmark: its hand counts, its ratios and the result rows."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from deepseek_learn import zoo
from deepseek_learn.course import write_result

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """`bench("profiling.rows")`: a module of the benchmarks, as a script imports it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture
def truth_script(bench):
    path = SCRIPTS / "profiler_truth.py"
    spec = importlib.util.spec_from_file_location("bench_profiler_truth", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def shapes_count(model, x) -> int:
    """FLOPs of all convolutions and linear layers, from their tensors' shapes."""
    total = 0

    def add(layer, inputs, output) -> None:
        nonlocal total
        weight = layer.weight[0].numel()
        transposed = isinstance(layer, nn.ConvTranspose2d)
        total += 2 * (inputs[0] if transposed else output).numel() * weight

    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    for layer in model.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(add)
    with torch.no_grad():
        model.eval()(x)
    return total


@pytest.mark.parametrize(
    ("net", "weights"),
    [("ResNet-50", "ResNet50_Weights"), ("ViT-B/16", "ViT_B_16_Weights")],
)
def test_hand_counts_are_what_torchvision_publishes(bench, net, weights):
    models = pytest.importorskip("torchvision.models")
    published = getattr(models, weights).IMAGENET1K_V1.meta["_ops"]  # 10^9 MACs
    flops = bench("models.profiled_nets").FIVE[net].flops
    assert flops / 2e9 == pytest.approx(published, abs=0.0005)  # its three decimals


def test_hand_counts_of_convolutional_nets_are_those_of_their_shapes(bench):
    nets = bench("models.profiled_nets")
    small = nets._unet(), torch.zeros(1, 3, 32, 32)
    assert nets.unet_flops(side=32) == shapes_count(*small)
    assert nets.FIVE["U-Net-64"].flops == 64 * nets.unet_flops(side=32)
    for name, by_hand in (
        ("fashion_net", nets.fashion_net_flops()),
        ("efficientnet_lite0", nets.efficientnet_lite0_flops()),
    ):
        bare = zoo.load(name, pretrained=False)
        assert by_hand == shapes_count(bare, zoo.example(name))


def test_the_attention_of_solar_defects_is_counted_by_hand_too(bench):
    nets = bench("models.profiled_nets")
    model, x = zoo.load("solar_defects", pretrained=False), zoo.example("solar_defects")
    # its spatial gates are functions: 9 taps to one channel, at each position
    gates = [(40, 36), (112, 18), (320, 9)]
    spatial = sum(2 * 9 * channels * side**2 for channels, side in gates)
    assert nets.solar_defects_flops() == shapes_count(model, x) + spatial


def test_the_hand_count_of_the_lstm_uses_each_weight_once_a_step(bench):
    nets = bench("models.profiled_nets")
    model, x = nets.FIVE["2-layer LSTM"].build()
    weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    assert nets.FIVE["2-layer LSTM"].flops == 2 * x.shape[1] * weights


def test_the_hand_count_of_the_functions_is_that_of_plain_products(bench):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    net = bench("models.profiled_nets").FIVE["functional attention"]
    model, x = net.build()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(x)
    assert net.flops == counter.get_total_flops()


def test_examples_are_the_same_each_time_and_batches_differ_only_in_size(bench):
    nets = bench("models.profiled_nets")
    (one, x), (two, y) = (nets.FIVE["2-layer LSTM"].build() for _ in range(2))
    assert torch.equal(x, y)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert nets.MEMORY["2-layer LSTM, batch 32"].build()[1].shape == (32, 50, 64)


def readings(rows, five, zoo_nets) -> dict:
    """Synthetic readings: ours correct, one 13 % high, one failing, one not installed."""
    right = {name: net.flops for name, net in (five | zoo_nets).items()}
    first = next(iter(five))
    return {
        rows.OURS: {"flops": right, "failed": {}, "version": None},
        "over": {"flops": {n: 1.13 * f for n, f in right.items()}, "failed": {}}
        | {"version": "1.0"},
        "fails": {"flops": {first: right[first]}, "failed": dict.fromkeys(five, "why")}
        | {"version": "2.0"},
        "absent": {"missing": "no wheel", "flops": {}, "failed": {}},
    }


def test_flop_rows_name_the_best_peer_and_what_is_not_there(bench, tmp_path):
    rows, nets = bench("profiling.rows"), bench("models.profiled_nets")
    results = rows.flop_rows(readings(rows, nets.FIVE, nets.ZOO), nets.FIVE, nets.ZOO)
    by_what = {row.what: row for row in results}
    counted = by_what["FLOPs: nets counted right (within 0.1 %)"]
    assert (counted.measured, counted.target) == (5, 5)
    assert (counted.peer, counted.peer_measured) == ("fails", 1)
    unet = by_what["FLOPs of U-Net-64: off the hand count"]
    assert unet.measured == 0
    assert unet.peer == "over"
    assert unet.peer_measured == pytest.approx(13)
    assert "fails failed" in unet.note
    absent = by_what["FLOPs: nets counted right (within 0.1 %) by absent"]
    assert absent.measured is None
    assert absent.note == "not installed: no wheel"
    assert "ViT-B/16: why" in by_what[absent.what.replace("absent", "fails")].note
    write_result("truth", results, "run", directory=tmp_path)


def test_one_model_of_the_zoo_miscounted_misses_the_target(bench, tmp_path):
    rows, nets = bench("profiling.rows"), bench("models.profiled_nets")
    counts = readings(rows, nets.FIVE, nets.ZOO)
    counts[rows.OURS]["flops"]["fashion_net"] *= 1 + 1e-5
    results = rows.flop_rows(counts, nets.FIVE, nets.ZOO)
    worst = next(row for row in results if "zoo" in row.what)
    assert worst.measured == pytest.approx(1e-3)
    assert worst.measured > worst.target
    del counts[rows.OURS]["flops"]["fashion_net"]
    results = rows.flop_rows(counts, nets.FIVE, nets.ZOO)
    assert next(row for row in results if "zoo" in row.what).measured is None
    write_result("truth", results, "run", directory=tmp_path)


def test_memory_rows_are_off_the_median_of_the_truths(bench, tmp_path):
    rows, mib = bench("profiling.rows"), 2**20
    estimates = {
        rows.OURS: 101 * mib,
        "near": 97 * mib,
        "far": 300 * mib,
        "broken": None,
    }
    results = {
        ("net", "infer"): {
            "truth": [99 * mib, 100 * mib, 140 * mib],
            "estimates": estimates,
        },
        ("net", "train"): {"truth": [None], "estimates": {rows.OURS: None}},
    }
    known, unknown = rows.memory_rows(results)
    assert known.measured == pytest.approx(1)
    assert (known.peer, known.peer_measured) == ("near", pytest.approx(3))
    assert "broken failed" in known.note
    assert "99.0 to 140.0 MiB" in known.note
    assert unknown.measured is None
    write_result("truth", [known, unknown], "run", directory=tmp_path)


def test_cost_ratios_are_over_the_passes_that_were_run(bench):
    cost = bench("profiling.recording_cost")
    spent = {"counting": 3.0, "profile": 2.0 * cost.PASSES * 1.25, "roof": 2.6}
    ratios = cost.ratios(spent, [2.0, 1.0, 9.0])
    assert ratios["counting"] == 1.5
    assert ratios["profile"] == 1.25
    assert ratios["roof"] == pytest.approx(2.6 / (2 * cost.PASSES))
    assert ratios["plain"] == 2.0


def test_a_profile_runs_as_many_passes_as_the_ratio_says(bench, monkeypatch):
    from deepseek_learn.profiler import profile
    from deepseek_learn.profiler.passes import ModelPass

    calls, run = [], ModelPass.__call__  # counters inside the model would be restored
    monkeypatch.setattr(
        ModelPass, "__call__", lambda step: (calls.append(1), run(step))
    )
    cost = bench("profiling.recording_cost")
    model = nn.Linear(2, 2)
    profile(model, torch.zeros(1, 2), repeats=cost.REPEATS, progress=False)
    assert len(calls) == cost.PASSES


def test_rank_correlations_see_the_order_alone(bench):
    cost = bench("profiling.recording_cost")
    one = {"a": 1.0, "b": 2.0, "c": 3.0}
    stretched = {"a": 1.0, "b": 20.0, "c": 21.0}
    turned = {"a": 3.0, "b": 2.0, "c": 1.0}
    correlations = cost.rank_correlations([one, stretched, turned])
    assert correlations == pytest.approx([1.0, -1.0])
    assert cost.rank_correlations([{"": 1.0}, {"": 2.0}]) == []  # one layer: no order


def test_cost_rows_have_no_target_for_the_small_net(bench, tmp_path):
    rows, nets = bench("profiling.rows"), bench("models.profiled_nets")
    each = {"counting": 1.2, "timing": 1.1, "allocator": 1.3, "torch.profiler": 1.25}
    each |= {"FlopCounterMode": 1.15, "profile": 1.3, "roof": 0.1, "plain": 0.05}
    case = {
        "rounds": [each | {"profile": p} for p in (1.2, 1.3, 1.9)],
        "spearman": [],
        "date": "2026-11-20",
    }
    names = next(iter(nets.COST)), next(iter(nets.SMALL))
    results = rows.cost_rows({(name, "infer"): case for name in names})
    whole, recording, small, _, order = results
    assert (whole.measured, whole.target) == (1.3, 1.35)
    assert (whole.low, whole.high) == pytest.approx((1.25, 1.6))
    assert recording.measured == 1.3  # the most expensive instrument
    assert recording.peer_measured == 1.25
    assert "DeepSpeed" not in recording.note
    assert small.target is None
    assert order.measured is None
    write_result("truth", results, "run", directory=tmp_path)


def test_one_peer_that_cannot_be_installed_stops_no_other(bench, tmp_path, monkeypatch):
    counters, tried = bench("profiling.flop_counters"), []

    def attempt(package: str) -> dict:
        tried.append(package)
        return {"error": "no wheel"} if package == "broken" else {"version": "1.0"}

    def make() -> None:
        status = {"torch": {"version": torch.__version__}}
        counters.STATUS.write_text(json.dumps(status))

    monkeypatch.setattr(counters, "STATUS", tmp_path / "status.json")
    monkeypatch.setattr(counters, "_install", attempt)
    monkeypatch.setattr(counters, "_make", make)
    tools = {
        "broken": counters.Tool("broken", None),
        "good": counters.Tool("good", None),
    }
    monkeypatch.setattr(counters, "TOOLS", tools | {"own": counters.Tool(None, None)})
    assert counters.missing("good") == "it is not installed"
    counters.install(["broken", "good"])
    assert tried == ["broken", "good"]
    assert counters.missing("broken") == "no wheel"
    assert counters.missing("good") is None
    assert counters.missing("own") is None
    counters.install(["broken", "good"])  # failures are retried
    assert tried == ["broken", "good", "broken"]


def test_a_process_that_hangs_or_dies_says_so(bench, monkeypatch):
    counters = bench("profiling.flop_counters")
    done = subprocess.CompletedProcess([], 1, '{"net": "a", "flops": 4}\nnoise\n', "")
    assert counters.answers(done) == [{"net": "a", "flops": 4}]
    assert counters.last_words(done) == "it said nothing"
    done.stderr = "Traceback\nValueError: no\n"
    assert counters.last_words(done) == "ValueError: no"
    monkeypatch.setattr(counters, "child", lambda *a, **k: done)
    counts = counters.count("fvcore", ["a", "b"])
    assert counts["flops"] == {"a": 4}
    assert counts["failed"] == {"b": "ValueError: no"}
    monkeypatch.undo()

    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(counters.subprocess, "run", hang)
    ended = counters.child(["profiling.flop_counters"], 0.5)
    assert counters.last_words(ended) == "it took longer than 0.5 s"
    assert counters.answers(ended) == []


def test_readings_of_another_profiler_count_no_more(
    truth_script, tmp_path, monkeypatch
):
    before = truth_script.fingerprint()
    assert before == truth_script.fingerprint()
    for name in truth_script.MEASURING:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("changed")
    place = str(tmp_path / "profiler" / "__init__.py")
    monkeypatch.setattr(truth_script.profiler, "__file__", place)
    assert truth_script.fingerprint() != before


@pytest.mark.skipif(sys.platform != "linux", reason="the truth is in Linux's /proc")
def test_the_high_water_mark_sees_a_tensor_that_came_and_went(bench):
    memory, size = bench("profiling.peak_memory"), 2**26

    class Passing(nn.Module):
        def forward(self, x):
            return torch.ones(size // 4).sum() + x

    peak = memory.truth(Passing(), torch.zeros(1), False)
    assert peak == pytest.approx(size, rel=0.05)


def test_an_error_is_relative_and_unknown_where_nothing_was_said(bench):
    rows = bench("profiling.rows")
    assert rows.error(90, 100) == pytest.approx(10)
    assert rows.error(110, 100) == pytest.approx(10)
    assert rows.error(None, 100) is None
    assert rows._giga(None) == "failed"
