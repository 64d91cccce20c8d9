"""The benchmark scripts: what they compute from measurements, and how they resume."""

import ast
import importlib.util
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from deepseek_learn.catalog import language, set_language
from deepseek_learn.course import write_result
from deepseek_learn.ledger.results import read_result

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"
RESULTS = sorted((SCRIPTS / "results").glob("*.json"))


@pytest.fixture(autouse=True)
def scripts_path(monkeypatch):
    """As when a script runs: its folder is on the path."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


def script(name):
    """A script as a module; its results go nowhere."""
    spec = importlib.util.spec_from_file_location(
        f"bench_{name}", SCRIPTS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_was_measured_by_the_protocol_that_its_script_states(path):
    """A script whose protocol changed must be rerun in full; until then its rows are
    marked outdated.
    """
    source = (SCRIPTS / path.name).with_suffix(".py").read_text(encoding="utf-8")
    stated = ast.get_docstring(ast.parse(source), clean=False)
    result = read_result(path)
    assert (result.protocol == stated.strip()) != bool(result.outdated)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_file_says_what_its_numbers_say(path):
    """The verdicts in a file are the ones that the library computes."""
    content = json.loads(path.read_text(encoding="utf-8"))
    stored = [c["verdict"] for row in content["rows"] for c in row["machines"].values()]
    verdicts = [r.verdict for r in read_result(path).rows if r.target is not None]
    assert stored == verdicts


def test_one_command_reads_every_speed_once_more():
    """Each of its scripts exists and takes the option; the costliest rows are included."""
    makefile = (SCRIPTS.parent / "Makefile").read_text(encoding="utf-8")
    words = makefile.split("SPEED :=")[1].split("bench-speed:")[0]
    commands = [word.split("+") for word in words.replace("\\", "").split()]
    for name, *options in commands:
        source = (SCRIPTS / name).read_text(encoding="utf-8")
        assert all(f"{option.strip('-')}=True" in source for option in options)
    read = {name.removesuffix(".py") for name, *_ in commands}
    claims = {"C2", "C5", "C6", "C7", "C12"}
    for path in RESULTS:
        rows = [r for r in read_result(path).rows if r.readings]
        promised = claims & {r.claim for r in rows if r.target is not None}
        # the kits' compile rows need the whole script
        assert not promised or path.stem in read | {"deploy_kits"}


@pytest.fixture
def learning():
    return script("attention_learning")


RATIOS = {"plain": 1.0, "se": 1.04, "cbam": 1.5, "eca": 1.0, "sc": 1.25, "slim": 0.8}


def scores(learning, plain=0.5, other=0.6):
    """Synthetic runs: every other variant lies `other - plain` above plain."""
    names = ("task", "variant", "seed", "epochs")
    for job in learning.Comparison([], RATIOS).needed():
        line = dict(zip(names, job, strict=True))
        score = plain if line["variant"] == "plain" else other
        yield line | {"score": score + line["seed"] / 100}


def test_learning_rows_are_paired_differences_the_ledger_takes(learning, tmp_path):
    rows = list(learning.summarize(learning.Comparison(scores(learning), RATIOS)))
    gains = {row.what: row for row in rows}
    gain = gains["solar: sc minus plain at equal time, AUROC"]
    assert gain.measured == pytest.approx(10)  # points, the same for each seed
    assert gain.low == pytest.approx(10)
    assert gain.target == 2.1
    assert "plain: 10 epochs, sc: 8" in gain.note
    assert gains["clutter: sc minus cbam at equal steps, accuracy"].measured == (
        pytest.approx(0)
    )
    # eca takes plain's time: one row, not two equal ones
    assert len([what for what in gains if what.startswith("solar: eca minus")]) == 1
    write_result("learning", rows, "run", directory=tmp_path)


@pytest.mark.parametrize("quick", [True, False])
def test_learning_trains_what_is_missing_and_keeps_quick_runs_apart(
    learning, monkeypatch, tmp_path, quick
):
    from harness import script as harness

    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    torch_here = {"torch": torch.__version__}
    finished = learning.SCRIPT.runs(quick=False)
    finished.record({"stage": "step time"} | torch_here, {"ratios": RATIOS})
    missing = ("solar", "sc", 1, 8)
    names = ("task", "variant", "seed", "epochs")
    for line in scores(learning):
        if tuple(line[name] for name in names) != missing:
            finished.record(line | torch_here, {})
    before, jobs, results = finished.path.read_bytes(), [], {}

    def train(*job):
        jobs.append(job)
        return {"score": 0.5}

    def write(name, rows, *more, **facts):
        results.update({row.what: row for row in rows})

    options = ["--quick"] if quick else []
    monkeypatch.setattr(sys, "argv", ["attention_learning.py", *options])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(learning, "train_one", train)
    monkeypatch.setattr(learning, "step_ratios", lambda: RATIOS)
    pool = lambda count, mp_context: ThreadPoolExecutor(1)  # noqa: E731
    monkeypatch.setattr(learning, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(harness.results, "write_result", write)
    learning.SCRIPT.main(learning.measure)
    row = results["solar: plain, AUROC, mean over seeds"]
    assert row.n == (2 if quick else 5)
    if quick:  # two seeds, two epochs, and three or one of plain for equal time
        assert {job[2:] for job in jobs if job[1] == "sc"} == {(0, 2), (1, 2)}
        assert finished.path.read_bytes() == before
        assert (tmp_path / "quick" / "attention_learning.jsonl").exists()
    else:
        assert jobs == [missing]
        assert len(finished.path.read_text().splitlines()) == before.count(b"\n") + 1
        assert row.measured == pytest.approx(52)


def test_cost_ratios_are_taken_within_a_round():
    cost = script("attention_cost")
    noise = [random.Random(i).uniform(1, 9) for i in range(15)]
    times = {"guide": [1.5 * n for n in noise], "sc": noise}
    row = cost.ratio_row(times, 1, "guide", "sc", "speed against it", 1.15, "ours")
    assert row.measured == pytest.approx(1.5)
    assert (row.low, row.high) == pytest.approx((1.5, 1.5))
    assert row.better == "higher"
    assert len(row.readings) == 1  # a speed reading


def test_decoding_is_timed_over_heads_and_contexts(monkeypatch, tmp_path):
    speed = importlib.import_module("language.against_transformers")
    asked = []

    def paces(sizes, heads, rounds):
        asked.append((sizes["hidden_size"], heads))
        for context in (256, 1024, 4096):
            yield context, [context / 256 * heads] * 3, "as equal as they are"

    monkeypatch.setattr(speed, "paces", paces)
    rows = {row.what: row for row in [*speed.decode(3), *speed.table(3)]}
    assert asked == [(1024, 16), (1024, 4), (1024, 64), (1024, 128), (128, 4)]
    over = "the reference's time over ours"
    assert rows[f"4 heads, one token after 4096: {over}"].measured == 64
    assert rows[f"128 heads, one token after 256: {over}"].target is None
    targets = [rows[f"one token after {c}: {over}"].target for c in (256, 1024, 4096)]
    assert targets == [None, 8.0, 10.0]
    path = write_result("lm_speed", rows.values(), "run", directory=tmp_path)
    assert all(len(row.readings) == 1 for row in read_result(path).rows)


@pytest.mark.slow
def test_zoo_is_checked_in_a_process_without_network():
    zoo = script("zoo")
    assert zoo.loads_offline("fashion_net")
    assert not zoo.loads_offline("no such model")


def quality_runs(quality, models):
    """Synthetic runs: DPG's KL is a tenth of the others', frequency equals random."""
    for model in models:
        for variant in ("float32", "dpg", "gptq4", *quality.PEERS):
            yield {"model": model, "variant": variant, "answers": 9, "agreement": 99.0} | {
                "kl": 0.01 if variant == "dpg" else 0.1,
                "right": [[0, 0, 60], [0, 1, 3], [1, 0, 2], [1, 1, 589]],
                "stored_share": 14.0, "bits_a_weight": 4.3,
            }  # fmt: skip
        for bits in (3.0, 4.0):
            for name in quality.CRITERIA:
                kl = 0.02 if name == "sensitivity" else 0.1
                for draw in range(quality.DRAWS if name == "random" else 1):
                    yield {"model": model, "variant": name, "bits": bits} | {
                        "draw": draw, "kl": kl
                    }  # fmt: skip


def test_quality_rows_are_ratios_the_ledger_takes(tmp_path):
    quality = importlib.import_module("compressing.quality")
    languages, pictures = ["tang_lm_0", "tang_lm_1"], ["fashion_net"]
    runs = list(quality_runs(quality, [*languages, *pictures]))
    rows = {r.what: r for r in quality.summarize(runs, languages, pictures)}
    torchao = rows["language models: KL of dpg over torchao int4's (group 32)"]
    assert torchao.measured == pytest.approx(0.1)
    assert torchao.target == pytest.approx(1 / 3)
    assert rows["KL of sensitivity over frequency's at 3 bits"].measured == (
        pytest.approx(0.2)
    )
    accuracy = rows["tang_lm_0: accuracy of dpg relative to float32"]
    assert accuracy.n == 654
    assert accuracy.measured == pytest.approx(100 * 591 / 592)
    # five pictures differ: no more than they is certain, and the guide's 98 % is
    assert 99.0 < accuracy.low < 99.5 < accuracy.measured < 100 < accuracy.high
    assert (accuracy.target, accuracy.verdict) == (98.0, "met")
    write_result("quality", rows.values(), "run", directory=tmp_path)


def test_memory_ratios_are_taken_within_a_round(tmp_path):
    memory = importlib.import_module("compressing.resident")
    rounds = []
    for noise in (1.0, 3.0, 2.0):
        times = {v: noise * (1 + i) for i, v in enumerate(memory.VARIANTS)}
        rounds.append(
            {
                v: {"resident": 16.0, "decode": t, "prefill": t, "dropped": 15.0}
                | {"backend": "cpp"}
                for v, t in times.items()
            }
        )
    rows = list(memory.summarize(rounds))
    place = memory.VARIANTS.index
    faster = next(r for r in rows if "decode against torchao int4" in r.what)
    expected = (1 + place("torchao int4")) / (1 + place("dpg"))
    assert faster.measured == pytest.approx(expected)
    assert (faster.low, faster.high) == pytest.approx((expected, expected))
    timed = {"speed" in row.unit: bool(row.readings) for row in rows}
    assert timed == {True: True, False: False}  # memory is not a speed reading
    write_result("memory", rows, "run", directory=tmp_path)


def test_memory_gives_every_layer_the_mixture():
    memory = importlib.import_module("compressing.resident")
    model = torch.nn.Sequential(torch.nn.Linear(64, 320), torch.nn.Linear(320, 160))
    shares = {"2": 0.1, "3": 0.2, "4": 0.4, "5": 0.2, "6": 0.1}
    for bits in memory.allocation(model, shares).bits.values():
        assert bits.double().mean().item() == pytest.approx(4.0)
        assert {int(b) for b in bits.unique()} == {2, 3, 4, 5, 6}
        counts = bits.bincount()
        assert (counts % 16 == 0).all()  # whole blocks, so that nothing is padded


def test_the_plan_for_ten_billion_parameters_by_hand():
    plan = importlib.import_module("compressing.ten_billion")
    weights = 12 * 32 * 5120**2
    assert weights == pytest.approx(10e9, rel=0.01)
    embeddings, cache = 2 * 32_000 * 5120 * 2, 1024 * 2 * 32 * 5120 * 2
    by_hand = weights * 4.25 / 8 + embeddings + cache + 2**29
    assert plan.plan_bytes(4) == pytest.approx(by_hand)
    most = {row.what[-10:]: row.measured for row in plan.plan_rows()}
    assert most[" 8 GB card"] == 4


def test_the_small_decoder_of_the_ten_billion_run_generates():
    plan = importlib.import_module("compressing.ten_billion")
    model = plan.big_decoder("cpu", 64, 2, 4, 100)
    assert plan.generate(model, "cpu") > 0
    assert plan.parameters(model) > 12 * 2 * 64**2


def unet_config(width, validation, errors, energy=100.0, lr=0.01):
    errors = [float(e) for e in errors]
    return {"lr": lr, "batch_size": 32, "width": width, "validation": validation} | {
        "errors": errors, "error": sum(errors) / len(errors), "energy_j": energy,
        "latency_ms": 2.0 * width,
    }  # fmt: skip


def test_unet_rows_follow_the_stated_rule(tmp_path):
    from tuning import unet_rows as unet

    guides = [unet_config(w, 0.4, [0.29, 0.30, 0.31], lr=1e-3) for w in (4, 8, 16)]
    configs = [
        unet_config(4, 0.38, [0.31, 0.32, 0.33]),  # worse: at 4 the guide's stays
        unet_config(8, 0.30, [0.19, 0.20, 0.21], energy=111.0),  # too expensive
        unet_config(8, 0.35, [0.285, 0.295, 0.305]),  # equal within the noise
        unet_config(16, 0.31, [0.19, 0.20, 0.21]),  # beats the guide's at 16
        unet_config(16, 0.32, [0.09, 0.10, 0.11]),  # validation decides, not the test
    ]
    assert unet.noise([*guides, *configs]) == pytest.approx(2 * (2 / 3) ** 0.5 * 0.01)
    search = {
        "states": {"complete": 20, "pruned": 28},
        "seconds": 600.0,
        "time": "2026-11-20T10:00:00Z",
        "front": configs,
    }
    rows = unet.summarize(guides, configs, search, peer=0.6, source="estimate")
    measured = {row.what: row.measured for row in rows}
    on_front, as_good, *gains = measured.values()
    assert (on_front, as_good) == (2, 2)
    assert gains[:3] == [pytest.approx(-2), pytest.approx(0.5), pytest.approx(10)]
    assert measured["time of the search"] == 10
    interval = [getattr(rows[4], end) - rows[4].measured for end in ("low", "high")]
    assert interval == pytest.approx([-2 * (2 / 3) ** 0.5, 2 * (2 / 3) ** 0.5])
    best = next(row for row in rows if row.peer == "best threshold")
    assert best.peer_measured == pytest.approx(0.4)
    assert [row.source for row in rows] == ["guide"] + ["ours"] * (len(rows) - 1)
    write_result("tuner_unet", rows, "run", directory=tmp_path)


def test_unet_has_no_answer_where_nothing_is_as_cheap(tmp_path):
    from tuning import unet_rows as unet

    guides = [unet_config(4, 0.4, [0.3, 0.4])]
    configs = [unet_config(5, 0.3, [0.1, 0.2])]
    search = {
        "states": {"complete": 1},
        "seconds": 6.0,
        "time": "2026-11-20",
        "front": configs,
    }
    rows = unet.summarize(guides, configs, search, peer=0.6, source="rapl")
    assert [row.measured for row in rows[:3]] == [1, 0, None]
    assert rows[2].note == "the front had none as cheap"
    write_result("tuner_unet", rows, "run", directory=tmp_path)


def test_unet_confirms_the_best_of_the_front_at_each_latency():
    unet = script("tuner_unet")
    ms = {str(w): 2.0 * w for w in range(4, 17)}
    front = [
        {"lr": 0.01, "batch_size": b, "width": w, "error": e, "energy_j": 1.0}
        | {"latency_ms": ms[str(w)]}
        for w, b, e in [
            (4, 4, 0.5),
            (4, 8, 0.6),
            (4, 9, 0.7),
            (4, 10, 0.8),
            (9, 4, 0.3),
        ]
    ]
    chosen = unet.candidates({"front": front, "knee": front[0]}, ms, (4, 8, 16))
    assert [(c["width"], c["batch_size"]) for c in chosen] == [
        (4, 4), (4, 8), (4, 9), (9, 4)
    ]  # fmt: skip


def test_unet_training_reports_every_epoch_and_repeats():
    unet = script("tuner_unet")
    task = unet.Task()
    assert len(task.train) == 204
    task.train = task.train.subset(list(range(16)))
    task.validation = task.validation.subset([0])
    config, seen = {"lr": 1e-2, "batch_size": 8, "width": 4}, []
    report = lambda epoch, model, joules: seen.append((epoch, joules))  # noqa: E731
    model, joules, source = unet.train(task, config, 1, 2, report)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert 0 < seen[0][1] < seen[1][1] == joules
    assert source in ("estimate", "rapl", "nvml")
    again, *_ = unet.train(task, config, 1, 2)
    assert unet.error(model, task.validation) == unet.error(again, task.validation)
    assert 0 < unet.threshold(task) < 1


@pytest.fixture
def deploy_cpu():
    script("deploy_cpu")
    return importlib.import_module("deploying.rows")


def a_network(deploy_cpu, **changed):
    """Synthetic times in ms: INT8 is 5 times as fast on OpenVINO, 4 times on the other."""
    ms = {
        deploy_cpu.EAGER: 100.0,
        "torch.compile": 80.0,
        "ONNX Runtime fp32": 70.0,
        "ONNX Runtime INT8": 25.0,
        "OpenVINO fp32": 72.0,
        "OpenVINO INT8": 20.0,
        "our engine, ONNX Runtime fp32": 70.7,
        "our engine, ONNX Runtime INT8": 26.0,
    }
    return {
        "ms": {
            way: [t * k for k in (0.9, 1.0, 1.1)] for way, t in (ms | changed).items()
        },
        "failed": {"ExecuTorch int8": "not installed"},
        "start_ms": [50.0, 60.0, 70.0],
        "size_mb": {"ONNX Runtime": 10.0, "OpenVINO": 11.0, "fp32": 40.0},
    }


def images(worse, better, both=1800, neither=200):
    """Hits over 1 before and after, as `tally` makes them."""
    counts = {(1, 0): worse, (0, 1): better, (1, 1): both, (0, 0): neither}
    return [[a, 1, b, 1, count] for (a, b), count in counts.items() if count]


def losses():
    facts = {"in_float": ["head"], "held_out_lost": 0.0}
    tables = {"ONNX Runtime": images(14, 4), "OpenVINO": images(2, 1)}
    return {name: facts | {"images": table} for name, table in tables.items()}


def rows_by_name(deploy_cpu, name="net", **changed):
    rows = deploy_cpu.rows_of(name, a_network(deploy_cpu, **changed), losses())
    return {(row.what, row.source): row for row in rows}


def test_our_engine_has_its_turn_and_may_not_fail_in_silence(monkeypatch, tmp_path):
    module, net = script("deploy_cpu"), MagicMock(calibration=[torch.zeros(2, 3)])
    for name in ("to_onnx", "engines", "Elsewhere", "backends", "native"):
        monkeypatch.setattr(module, name, MagicMock())
    monkeypatch.setattr(module, "with_winograd", lambda proto: proto)
    module.backends.eager.return_value = {}
    module.Elsewhere.side_effect = RuntimeError("no such wheel")
    engine = MagicMock()
    monkeypatch.setattr(module, "Engine", engine)
    runtimes, failed = module.ways(net, MagicMock(), tmp_path, "speed")
    ours = [name for name in runtimes if name.startswith("our engine")]
    assert len(ours) == engine.call_count == 4
    assert "--library" in engine.call_args_list[0].args
    assert failed["ncnn fp32"] == "no such wheel"
    engine.side_effect = RuntimeError("ours is broken")
    with pytest.raises(RuntimeError, match="ours is broken"):
        module.ways(net, MagicMock(), tmp_path, "speed")
    with pytest.raises(RuntimeError, match="ours is broken"):
        module.first_calls({ours[0]: engine}, failed)


@pytest.mark.slow
def test_deployment_rows_judge_the_faster_runtime(deploy_cpu, monkeypatch):
    monkeypatch.setattr(deploy_cpu, "vnni", lambda: True)
    rows = rows_by_name(deploy_cpu)
    what = "net: INT8 over PyTorch eager float32, one thread"
    guide = rows[what, "guide"]
    assert (guide.measured, guide.target) == (pytest.approx(5.0), 3.0)
    assert guide.peer == "ONNX Runtime INT8"
    assert guide.peer_measured == pytest.approx(4.0)
    assert guide.note.startswith("OpenVINO, 20 ms")
    assert "not run: ExecuTorch int8 (not installed)" in guide.note
    assert rows[f"{what}, processor with VNNI", "ours"].target == 4.0
    lost = rows["net: points lost by INT8 (OpenVINO) on the test part", "guide"]
    assert (lost.measured, lost.target) == (pytest.approx(100 / 2003), 1.0)
    assert "of 2,003 images 2 do worse and 1 better" in lost.note
    assert "layers left in float: head" in lost.note
    assert lost.low < 0 < lost.high < 1.0
    aim = rows["net: points lost by INT8 (OpenVINO) on the test part, aim", "ours"]
    assert (lost.verdict, aim.verdict) == ("met", "on the mean only")


def test_deployment_rows_know_the_engines_cost(deploy_cpu):
    rows = rows_by_name(deploy_cpu)
    key = "net: our engine over ONNX Runtime's Python interface"
    assert rows[f"{key}, fp32", "ours"].measured == pytest.approx(1.0)
    assert rows[f"{key}, INT8", "ours"].measured == pytest.approx(4.0)
    assert rows["net: start of our engine, INT8", "ours"].measured == 60.0
    assert rows["net: INT8 model file", "ours"].target is None
    assert ("net: OpenVINO fp32 over PyTorch eager", "ours") in rows
    assert ("net: OpenVINO INT8 over PyTorch eager", "ours") in rows
    large = rows_by_name(deploy_cpu, "U-Net-64, 256 x 256")
    assert large["U-Net-64, 256 x 256: INT8 model file", "ours"].target == 30.0
    one = large["U-Net-64, 256 x 256: one picture, one core, INT8", "ours"]
    assert one.measured == pytest.approx(0.02)


def test_without_vnni_there_is_no_promise_of_four_times(deploy_cpu, monkeypatch):
    monkeypatch.setattr(deploy_cpu, "vnni", lambda: False)
    rows = rows_by_name(deploy_cpu)
    what = "net: INT8 over PyTorch eager float32, one thread"
    assert rows[what, "ours"].target is None
    assert rows[what, "guide"].target == 3.0


def test_kits_count_what_passed_and_say_what_did_not(tmp_path):
    kits = script("deploy_kits")
    proofs = kits.Proofs("kits that pass")
    proofs.add("one", "")
    proofs.add("two", "stopped elsewhere")
    row = proofs.row("without a wheel: amd")
    assert (row.measured, row.target, row.n) == (1, 2, 2)
    assert row.note == "without a wheel: amd; two: stopped elsewhere"
    nothing = kits.Proofs("nothing").row("no wheel")
    assert (nothing.measured, nothing.target) == (None, None)
    lost = kits.loss_rows("net", {"fp16 for TensorRT": images(6, 2)})
    assert [row.target for row in lost] == [1.0, 0.1]
    assert lost[0].measured == pytest.approx(100 * 4 / 2008)
    write_result("deploy_kits", [row, nothing, *lost], "run", directory=tmp_path)


def test_points_lost_of_masks_pool_all_pixels():
    from harness.outcomes import points_lost, tally

    before, after = ([8, 30], [10, 40]), ([6, 30], [10, 50])
    lost = points_lost(tally(*before, *after))
    assert lost.measured == pytest.approx(100 * (38 / 50 - 36 / 60))
    assert lost.low <= lost.measured <= lost.high
    assert lost.n == 2


def test_kits_name_the_library_that_is_missing():
    kits = script("deploy_kits")
    message = "Failed to load x.so: libmigraphx_c.so.3: cannot open shared object file"
    assert kits.missing_of(message) == "libmigraphx_c.so.3"
    assert kits.re.search(kits.VENDORS["amd-mi300"][1], message)
    assert not kits.re.search(kits.VENDORS["ascend-910b"][1], message)


@pytest.fixture
def explained():
    module, before = importlib.import_module("models.explained"), language()
    module.in_english()
    yield module
    set_language(before)


@pytest.mark.slow
def test_a_planted_channel_changes_no_answer(explained):
    parts = explained.digits()
    model = explained.network(0, parts)
    x = parts["held out"][0]
    for seed in range(4):
        before = model(x)
        explained.plant(model, seed)
        assert torch.allclose(model(x), before, rtol=1e-3, atol=1e-3)


def test_dpgs_reason_is_held_against_each_layer_rounded_alone(explained, monkeypatch):
    harms = {"0": 1.0, "2": 2.0, "5": 3.0, "7": 4.0, "9": 5.0}

    class Small:
        class allocation:
            bits = harms

        def why(self):
            return "most in 9 (8.0), where it matters, fewest in 2 (3.0)."

    monkeypatch.setattr(explained, "network", lambda seed, parts: None)
    monkeypatch.setattr(explained.dpg, "compress", lambda model, batches: Small())
    monkeypatch.setattr(explained, "harm_of", lambda model, name, x: harms[name])
    assert [right for right, _ in explained.of_dpg(1)] == [True, False]


@pytest.mark.slow
def test_harm_is_that_of_one_layer_alone(explained):
    parts = explained.digits()
    model, x = explained.network(1, parts), parts["held out"][0][:64]
    torch.nn.init.zeros_(
        model[9].weight
    )  # whatever came before, the answer is the bias
    assert explained.harm_of(model, "2", x) == pytest.approx(0, abs=1e-12)
    model = explained.network(1, parts)
    assert explained.harm_of(model, "9", x) > 0


def test_deepopts_kinds_are_those_of_the_models(explained):
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        model = torchvision.models.mobilenet_v2()
    kinds = {p: explained.kind_of(model, p, "classifier.1") for p in (
        "classifier.1.weight", "classifier.1.bias", "features.0.0.weight",
        "features.1.conv.0.0.weight", "features.0.1.weight",
    )}  # fmt: skip
    assert list(kinds.values()) == ["head", "vector", "matrix", "vector", "vector"]


def test_a_searchs_sentence_is_held_against_the_table(explained):
    class Table:
        def lookup(self, settings):
            return {"errors": [abs(settings["lr"] - 3) + abs(settings["width"] - 1)]}

    axes = {"lr": [1, 2, 3, 4], "width": [1, 2, 3]}
    statements = list(explained.of_search(Table(), axes, 8))
    assert all(right for right, _ in statements)
    assert statements[-1][1].endswith("{'lr': 3, 'width': 1}")
    assert list(explained.neighbors({"lr": 3, "width": 1}, axes)) == [
        {"lr": 2, "width": 1}, {"lr": 4, "width": 1}, {"lr": 3, "width": 2}
    ]  # fmt: skip


@pytest.fixture
def budgets():
    return importlib.import_module("language.budgets")


def point(share, kl, bits=4, **more):
    return {
        "bytes": share,
        "kl": kl,
        "bits": bits,
        "accuracy": 99.5,
        "token": 5.5,
    } | more


def test_divergences_are_compared_at_equal_bytes(budgets):
    # log-linear: from 0.4 at 24 % to 0.1 at 26 %, so 0.2 at 25 %
    points = [
        point(26.0, [0.1, 0.1]),
        point(24.0, [0.4, 0.4]),
        point(30.0, [0.01, 0.01]),
    ]
    assert budgets.at_bytes(points, 25.6) == pytest.approx(0.4 * 4 ** (-0.8))
    assert budgets.at_bytes(points, 24.0) == pytest.approx(0.4)
    ratio, note = budgets.equal_bytes(points, point(24.4, [0.1, 0.1]))
    assert ratio.measured == pytest.approx(4 * 4 ** (-0.2))
    assert (ratio.low, ratio.high) == pytest.approx((ratio.measured,) * 2)
    assert "24.40 % of the bytes" in note
    with pytest.raises(ValueError, match="no points around"):
        budgets.at_bytes(points, 28.0)  # 28 is more than 2 % from either
    with pytest.raises(ValueError, match="no points around"):
        budgets.at_bytes(points, 23.9)  # near one of them, but beyond it


def test_the_interval_at_equal_bytes_is_of_the_windows(budgets):
    generator = random.Random(0)
    kl = [generator.uniform(0.5, 1.5) for _ in range(50)]
    points = [point(24.0, [0.2 * v for v in kl]), point(26.0, [0.1 * v for v in kl])]
    same, _ = budgets.equal_bytes(points, point(24.0, kl))
    assert (same.low, same.high) == pytest.approx((0.2, 0.2))  # windows cancel
    other = [generator.uniform(0.5, 1.5) for _ in range(50)]
    apart, _ = budgets.equal_bytes(points, point(24.0, other))
    assert apart.low < apart.measured < apart.high


def test_the_guides_memory_is_of_the_smallest_budget_that_keeps_98(budgets):
    points = [point(28.0, [0.0], 5), point(24.7, [0.0], 3, accuracy=97.9)]
    points += [point(27.4, [0.0], 4, accuracy=98.1), point(24.0, [0.0], 3.5)]
    *rows, guide = budgets.accuracy_rows(points)
    assert (guide.source, guide.measured, guide.target) == (
        "guide",
        27.4,
        35.0,
    )
    assert [row.target for row in rows] == [None, None, 99.0, None]


@pytest.fixture
def one_model():
    return importlib.import_module("compressing.peaks")


def budget(bits, accuracy, memory):
    facts = {"bits": bits, "accuracy": accuracy, "memory": memory, "stored": 15.0}
    return facts | {"after": {}, "before": {}, "mib": 30.0, "float32_mib": 100.0}


def test_memory_and_accuracy_are_of_the_same_budget(one_model, tmp_path):
    budgets = [budget(5, 99.9, [33.0]), budget(3, 97.0, [26.0])]
    budgets.append(budget(4, 98.0, [30.0, 29.0, 36.0]))
    row = one_model.row("fashion_net", budgets)
    assert (row.measured, row.low, row.high) == (30.0, 29.0, 36.0)
    assert row.note.startswith("at 4 bits; 3 bits: 97.00 % of the accuracy, 26.0 %")
    path = write_result("dpg_memory", [row], "run", directory=tmp_path)
    assert read_result(path).rows[0].verdict == "on the mean only"


def test_where_no_budget_keeps_the_accuracy_the_memory_is_all_of_it(one_model):
    row = one_model.row("fashion_net", [budget(4, 97.9, [20.0])])
    assert row.measured == 100.0
    assert row.note.startswith("no budget keeps it")


@pytest.mark.slow
def test_peak_memory_holds_the_weights_and_grows_with_the_work(one_model, monkeypatch):
    """In a separate process; a model of 0.3 MB whose batch takes far more."""
    import os

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    peak = one_model.peak_bytes("fashion_net", None)
    # the largest pair of activations of the batch, at least one of them
    assert peak > one_model.BATCHES["fashion_net"] * 28 * 28 * 8 * 4
    assert peak < 200 * 2**20


def test_the_tuner_is_judged_on_problems_held_out():
    """Where choices were made, the search can miss its target but not meet it."""
    rows = read_result(SCRIPTS / "results" / "tuner_peers.json").rows
    seen = ("ZDT1", "DTLZ2", "mixed", "digits", "mean over 7 problems")
    judged = [r for r in rows if r.target is not None and "time" not in r.what]
    assert len(judged) > 10
    for row in judged:
        assert bool(row.choices) == row.what.startswith(seen)
        assert row.choices is None or row.verdict in ("information", "missed")
    names = [p.name for p in importlib.import_module("tuning.problems").problems()]
    assert set(seen[:4]) < set(names)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_fraction_that_is_met_has_an_interval(path):
    """Fractions of samples; a count of all there are, such as of exercises, has none."""
    counted = ("exercises", "answers that get", "forgeries", "models that load")
    for row in read_result(path).rows:
        sampled = row.unit in ("of 1", "%", "% right") and (row.n or 0) > 1
        if row.verdict != "met" or not sampled or any(c in row.what for c in counted):
            continue
        exact = "difference between card", "off the", "stored bytes", "memory at which"
        if not any(word in row.what for word in exact):
            assert row.low is not None, row.what


@pytest.fixture
def deploy_packed(script):
    return script("deploy_packed")


def test_packed_deployments_are_judged_by_bytes_memory_and_answers(deploy_packed):
    ways = deploy_packed.WAYS
    facts = {
        "file": {"fp32": 1000, "int8": 260, "packed": 220, "packed_int8": 360},
        "packed_bytes": 200,
        "difference": 3e-7,
        "ms": {way: [2.0, 2.0, 2.0] for way in ways},
        "peak": {way: [30e6, 30e6] for way in ways},
        # hits and totals before, after, and how many such images
        "images": {
            "packed": [[1, 1, 0, 1, 1], [1, 1, 1, 1, 99]],
            "packed_int8": [[1, 1, 0, 1, 10], [1, 1, 1, 1, 90]],
        },
    }
    facts["ms"]["packed_int8"] = [1.0, 1.0, 1.0]
    rows = {row.what: row for row in deploy_packed.rows_of("net", facts)}
    at = "net, deployed as packed"
    assert rows[f"{at}: bytes of the file over the packed model's"].measured == 1.1
    assert rows[f"{at}: bytes of the file, of float32's"].measured == 22
    assert rows[f"{at}_int8: bytes of the file, of float32's"].verdict == "missed"
    assert rows[f"{at}: peak memory of the process, of float32's"].measured == 100
    assert (
        rows[f"{at}_int8: time over that of INT8 without compression"].measured == 0.5
    )
    kept = rows[f"{at}: accuracy kept on the test part"]
    assert kept.measured == pytest.approx(99)
    assert kept.low < 99 < kept.high
    assert rows[f"{at}_int8: accuracy kept on the test part"].verdict == "missed"
