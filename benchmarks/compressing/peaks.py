"""The guide's sentence on one model: 98 % of the accuracy at 35 % of the memory.

The protocol is in `benchmarks/dpg_memory.py`.
"""

import math
import pickle
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from harness import peak
from harness.interval import Estimate, spread
from harness.script import BENCHMARKS, Run

from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import memory

SMOLLM2, BATCHES = "SmolLM2-135M", {"fashion_net": 64, "solar_defects": 8}
BUDGETS, ACCURACY, MEMORY, PROCESSES = (3, 4, 5, 8), 98.0, 35.0, 3
PROMPT = NEW = 64


def compress(name: str, bits: float, folder: Path) -> dict:
    """Compress, write the file, and measure the retained accuracy."""
    import torch

    from deepseek_learn import dpg

    torch.manual_seed(0)
    model, batches, score = subject(name)
    small = dpg.compress(model, batches, bits=bits)
    dpg.save(small.model, folder / "model.safetensors")
    if name == SMOLLM2:
        (folder / "config.pickle").write_bytes(pickle.dumps(model.config))
    before, after = score(model), score(small.model)
    return {
        "accuracy": 100 * after["accuracy"] / before["accuracy"],
        "stored": 100 * small.ratio,
        "before": before,
        "after": after,
    }


def subject(name: str):
    """The float32 model, its calibration batches, and its scoring function."""
    if name == SMOLLM2:
        return language_model()
    from deepseek_learn import zoo

    evaluation = zoo.evaluation(name)

    def score(model) -> dict[str, float]:
        return {"accuracy": evaluation.points(model, evaluation.test)}

    batches = evaluation.calibration[:256].split(BATCHES[name])
    return zoo.load(name), batches, score


def language_model():
    import torch
    from latent_cache import windows

    from deepseek_learn.zoo import smollm2

    model, tokenizer = smollm2.load()
    texts = windows(tokenizer, None)
    train = torch.cat([text["train"] for text in texts.values()])
    test = torch.cat([text["test"] for text in texts.values()])

    @torch.inference_mode()
    def score(model) -> dict[str, float]:
        right, nats = 0, 0.0
        for window in test:
            answer, targets = model(window[None, :-1])[0], window[1:]
            right += int((answer.argmax(1) == targets).sum())
            nats += torch.nn.functional.cross_entropy(answer, targets).item()
        answers = test.numel() - len(test)
        perplexity = math.exp(nats / len(test))
        return {"accuracy": 100 * right / answers, "perplexity": perplexity}

    return model, list(train.split(1)), score


def peak_bytes(name: str, folder: Path | None) -> int:
    """Peak memory in a separate process; without a folder, of the float32 model."""
    return peak.in_fresh_process(
        BENCHMARKS / "dpg_memory.py", "--peak", name, folder or ""
    )


def print_peak(name: str, folder: str) -> None:
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warm_up()
    before = memory.resident_bytes()
    model = load(name, Path(folder) if folder else None)
    peak.print_peak(task(name, model), above=before)


def warm_up() -> None:
    """Run a tiny network through everything, so that set-up is not counted."""
    import torch

    from deepseek_learn import dpg, zoo  # noqa: F401
    from deepseek_learn.zoo import smollm2  # noqa: F401

    small = torch.nn.Sequential(torch.nn.Conv2d(1, 64, 3), torch.nn.Flatten()).eval()
    x = torch.rand(2, 1, 8, 8)
    small(x), dpg.convert(small, dpg.uniform(small, 4))(x)


def load(name: str, folder: Path | None):
    """The float32 model, or the compressed one from its file in `folder`."""
    import torch

    from deepseek_learn import dpg, zoo
    from deepseek_learn.lm import LanguageModel
    from deepseek_learn.zoo import smollm2

    if folder is None:
        return smollm2.load()[0] if name == SMOLLM2 else zoo.load(name)
    if name != SMOLLM2:
        return dpg.load(folder / "model.safetensors", zoo.load(name))
    config = pickle.loads((folder / "config.pickle").read_bytes())
    with torch.device("meta"):
        frame = LanguageModel(config)
    frame.lm_head.weight = frame.model.embed_tokens.weight  # tied
    return dpg.load(folder / "model.safetensors", frame).eval()


def task(name: str, model) -> Callable[[], object]:
    """The task that the model runs while its memory is measured."""
    import torch

    from deepseek_learn import lm, zoo

    if name == SMOLLM2:
        prompt = torch.arange(1, PROMPT + 1).tolist()
        return lambda: lm.generate(model, [prompt], NEW)
    example = zoo.example(name)
    pictures = example[:1].expand(BATCHES[name], *example.shape[1:]).contiguous()
    return lambda: model(pictures)


def measure_budget(name: str, bits: float, processes: int) -> dict:
    """Memory and accuracy of one compressed model."""
    with tempfile.TemporaryDirectory() as place:
        result = compress(name, bits, Path(place))
        pairs = [
            (peak_bytes(name, None), peak_bytes(name, Path(place)))
            for _ in range(processes)
        ]
    shares = [100 * ours / baseline for baseline, ours in pairs]
    medians = [statistics.median(side) / 2**20 for side in zip(*pairs, strict=True)]
    return result | {"memory": shares, "float32_mib": medians[0], "mib": medians[1]}


def row(name: str, budgets: list[dict]) -> Row:
    """The guide's row: the memory of the smallest budget that retains the accuracy."""
    ordered = sorted(budgets, key=lambda run: run["bits"])
    accurate = [run for run in ordered if run["accuracy"] >= ACCURACY]
    doing = "generating" if name == SMOLLM2 else f"a batch of {BATCHES[name]}"
    size, where = Estimate(100.0), "no budget keeps it"
    if accurate:
        size, where = spread(accurate[0]["memory"]), f"at {accurate[0]['bits']} bits"
    return Row(
        claim="C2",
        source="guide",
        what=f"{name}: peak memory of inference ({doing}) with 98 % of the accuracy",
        unit="% of float32",
        better="lower",
        target=MEMORY,
        note="; ".join([where, *map(words, ordered)]),
        **vars(size),
    )


def words(run: dict) -> str:
    sentence = f"{run['bits']} bits: {run['accuracy']:.2f} % of the accuracy, "
    if "perplexity" in run["after"]:
        pair = [run[side]["perplexity"] for side in ("after", "before")]
        sentence += "perplexity {:.2f} against {:.2f}, ".format(*pair)
    memory = statistics.median(run["memory"])
    sentence += f"{memory:.1f} % of the memory ({run['mib']:.1f} of "
    return sentence + f"{run['float32_mib']:.1f} MiB), file {run['stored']:.1f} %"


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs()
    names, budgets = (SMOLLM2, *BATCHES), BUDGETS
    if run.quick:
        names, budgets = ("fashion_net",), (4,)
    processes = 1 if run.quick else PROCESSES
    for name in names:
        results = []
        for bits in budgets:
            work = partial(measure_budget, name, bits, processes)
            results.append(runs.once({"model": name, "bits": bits}, work))
        yield row(name, results)
