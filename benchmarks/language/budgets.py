"""DPG on a language model of experts: what the zoo's small DeepSeek keeps of its answers.

The protocol is in `benchmarks/lm_weights.py`.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from harness.interval import Estimate, resampled
from harness.script import Run

from deepseek_learn.ledger.rows import Row

LENGTH, CALIBRATION, TEST, BATCH = 256, 48, 96, 8
GUIDE_ACCURACY, GUIDE_MEMORY, ACCURACY, DIVERGENCE = 98.0, 35.0, 99.0, 0.7
BUDGETS, GPTQ = (2, 2.25, 3, 3.25, 3.5, 4, 4.25, 4.5, 5), (3, 4, 5)
AROUND = (3, 3.25, 3.5)  # DPG's budgets around the bytes of gptq's 4 bits
FEWER = (6, 12, 24, 96)  # calibration windows
NEAR, RESAMPLINGS = 0.02, 2000


def windows(writer, part: str, count: int):
    """`[count, LENGTH + 1]` tokens, half of them of each language."""
    import numpy as np
    import torch

    from deepseek_learn import data
    from deepseek_learn.zoo.nets.small_deepseek import TEXTS
    from deepseek_learn.zoo.writing import document

    rows = []
    for name, kind in TEXTS.items():
        text = bytes(getattr(data.load(name), part).numpy()).decode().splitlines()
        order = np.random.default_rng(0).permutation(len(text))
        tokens = [t for i in order for t in document(writer.tokenizer, kind, text[i])]
        # the English test part is short: its windows overlap
        room = len(tokens) - LENGTH - 1
        starts = np.linspace(0, room, count // 2).astype(int)
        rows += [tokens[i : i + LENGTH + 1] for i in starts]
    return torch.tensor(rows)


def answers(model, rows):
    """Log-probabilities `[N, T, V]` of the next tokens."""
    import torch

    with torch.inference_mode():
        logits = [model(batch[:, :-1]) for batch in rows.split(BATCH)]
    return torch.cat(logits).log_softmax(-1)


def metrics(reference, log_probabilities, targets) -> dict:
    """Metrics of log-probabilities `[N, T, V]`: accuracy in % of the reference's, etc."""
    right = [
        (z.argmax(-1) == targets).double().mean().item()
        for z in (log_probabilities, reference)
    ]
    kl = (reference.exp() * (reference - log_probabilities)).sum(-1).mean(1)  # [N]
    bits = -log_probabilities.gather(-1, targets[..., None]).mean().item() / math.log(2)
    return {"accuracy": 100 * right[0] / right[1], "kl": kl.tolist(), "token": bits}


class Bench:
    """The model, its texts and the finished points."""

    def __init__(self, run: Run):
        from deepseek_learn import lm, zoo

        writer = zoo.writer("small_deepseek")
        self.model = lm.separate(writer.model)
        del self.model.model.layers[self.model.config.num_hidden_layers :]
        count, most = (32, 16) if run.quick else (TEST, max(CALIBRATION, *FEWER))
        self.rows = windows(writer, "test", count)
        self.train = windows(writer, "train", most)
        self.targets = self.rows[:, 1:]
        self.reference = answers(self.model, self.rows)
        self.calibrations: dict[int, object] = {}
        self.runs = run.finished_runs(part="budgets")

    def calibration(self, count: int):
        """Batches of the first windows of each language."""
        import torch

        from deepseek_learn import dpg

        if count not in self.calibrations:
            half, some = len(self.train) // 2, count // 2
            rows = torch.cat([self.train[:some], self.train[half : half + some]])
            batches = rows[:, :-1].split(BATCH)
            self.calibrations = {count: dpg.calibrate(self.model, batches)}
        return self.calibrations[count]

    def point(self, way: str, bits: float, count: int) -> dict:
        """Bytes, accuracy and divergence of one compressed model, measured or reloaded."""
        key = {"way": way, "bits": bits, "windows": count}
        return self.runs.once(key, lambda: self.measure(way, bits, count))

    def measure(self, way: str, bits: float, count: int) -> dict:
        from deepseek_learn import dpg

        calibration = self.calibration(count)
        if way == "gptq":
            allocation = dpg.uniform(self.model, bits)
        else:
            allocation = dpg.allocate(self.model, calibration, bits)
        small = dpg.convert(self.model, allocation, calibration)
        share = 100 * dpg.bytes_of(small) / dpg.bytes_of(self.model)
        answer = answers(small, self.rows)
        return {"bytes": share} | metrics(self.reference, answer, self.targets)


def at_bytes(points: list[dict], share: float, index=slice(None)) -> float:
    """The divergence at a given size: log-linear interpolation between two points.

    Raises:
        ValueError: when no point is within `NEAR`, or one side has none.
    """
    import numpy as np

    points = sorted(points, key=lambda point: point["bytes"])
    sizes = np.array([point["bytes"] for point in points])
    if np.abs(sizes / share - 1).min() > NEAR or not sizes[0] <= share <= sizes[-1]:
        raise ValueError(f"no points around {share:.2f} % of the bytes: {sizes}")
    means = [np.log(np.mean(np.array(point["kl"])[index])) for point in points]
    return float(np.exp(np.interp(share, sizes, means)))


def equal_bytes(points: list[dict], other: dict) -> tuple[Estimate, str]:
    """DPG's divergence at the size of `other` over that of `other`, and a note."""
    import numpy as np

    rng, count = np.random.default_rng(0), len(other["kl"])
    peer = np.array(other["kl"])
    again = []
    for _ in range(RESAMPLINGS):
        index = rng.integers(0, count, count)
        ours = at_bytes(points, other["bytes"], index)
        again.append(ours / peer[index].mean())
    ours = at_bytes(points, other["bytes"])
    near = min(points, key=lambda point: abs(point["bytes"] - other["bytes"]))
    note = (
        f"{ours:.4f} against {peer.mean():.4f} nats at {other['bytes']:.2f} % of the "
    )
    note += f"bytes; nearest point of DPG {near['bits']} bits, {near['bytes']:.2f} %"
    return resampled(ours / float(peer.mean()), again, count), note


def row(
    what: str, unit: str, target: float | None, better: str, estimate, note: str
) -> Row:
    return Row(
        claim="C2",
        source="ours",
        what=f"small_deepseek{what}",
        unit=unit,
        better=better,
        target=target,
        note=note,
        **vars(estimate),
    )


def accuracy_rows(points: list[dict]) -> list[Row]:
    """Accuracy at each budget, and the guide's: memory that retains 98 % of it."""
    rows, guide = [], []
    for point in sorted(points, key=lambda point: point["bits"]):
        bits, accuracy = point["bits"], point["accuracy"]
        note = f"{point['bytes']:.1f} % of the bytes, {point['token']:.3f} bits a token"
        what = f", DPG at {bits} bits: accuracy of the next token over float32's"
        target = ACCURACY if bits == 4 else None
        rows.append(row(what, "%", target, "higher", Estimate(accuracy, n=1), note))
        if not guide and bits in GPTQ and accuracy >= GUIDE_ACCURACY:
            what = ": memory at which DPG keeps 98 % of the accuracy"
            note = f"{bits} bits, {accuracy:.2f} % of the accuracy"
            size = Estimate(point["bytes"], n=1)
            guide = [row(what, "%", GUIDE_MEMORY, "lower", size, note)]
    return [*rows, *(replace(row, source="guide") for row in guide)]


def measure(run: Run) -> Iterator[Row]:
    bench, count = Bench(run), 16 if run.quick else CALIBRATION
    budgets, rivals, fewer = (AROUND, (4,), ()) if run.quick else (BUDGETS, GPTQ, FEWER)
    points = [bench.point("dpg", bits, count) for bits in budgets]
    yield from accuracy_rows(points)
    for bits in rivals:
        comparison = equal_bytes(points, bench.point("gptq", bits, count))
        what = f", at the bytes of gptq's {bits} bits: DPG's divergence over gptq's"
        target = DIVERGENCE if bits == 4 else None
        yield row(what, "ratio", target, "lower", *comparison)
    for number in fewer:
        around = [bench.point("dpg", bits, number) for bits in AROUND]
        comparison = equal_bytes(around, bench.point("gptq", 4, number))
        what = f", at the bytes of gptq's 4 bits, {number} windows to calibrate: "
        what += "DPG's divergence over gptq's"
        yield row(what, "ratio", None, "lower", *comparison)
