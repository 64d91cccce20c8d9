"""The ledger's rows for the measurements of `factory_line.py`."""

from collections.abc import Iterator

import numpy as np
from harness.interval import quartiles, share, spread, student
from harness.runs import end_time

from deepseek_learn.ledger.rows import Row

from .station import RATE, SIDE

MB, SEQUENCES = 1e6, 20


def row(
    what: str, unit: str, measured: float, target=None, better="lower", **more
) -> Row:
    fields = {"claim": "C13", "source": "ours"} | more
    return Row(
        what=what, unit=unit, measured=measured, target=target, better=better, **fields
    )


def exact_rows(surface: str, result: dict) -> Iterator[Row]:
    count = f"{result['parts']} parts of {SIDE} x {SIDE}"
    for precision, bound in (("fp32", 1e-4), ("int8", 0.05)):
        what = f"{surface}: largest difference of the {precision} program's scores"
        yield row(
            f"{what} from PyTorch's",
            "of 1",
            result[f"{precision}_apart"],
            bound,
            note=count,
        )
        what = (
            f"{surface}: verdicts of the {precision} program that differ from PyTorch's"
        )
        target = 0 if precision == "fp32" else None
        yield row(what, "parts", result[f"{precision}_verdicts"], target, note=count)
    what = f"{surface}: defective parts found by the INT8 program"
    note = f"{result['int8_false']:.1%} false alarms; PyTorch {result['recall']:.1%}"
    yield row(what, "of 1", result["int8_recall"], better="higher", note=note)
    loss = 100 * (result["auroc"] - result["int8_auroc"])
    what = f"{surface}: image AUROC that the INT8 program loses against PyTorch"
    note = f"{count}; PyTorch {result['auroc']:.4f}, float32 {result['fp32_auroc']:.4f}"
    yield row(what, "points", loss, 1.0, claim="C12", source="guide", note=note)


def speed_rows(surface: str, result: dict) -> Iterator[Row]:
    seconds = quartiles(result["program_s"], "inclusive")
    what = f"{surface}: seconds per part of {SIDE} x {SIDE}, one thread, all included"
    for source in ("guide", "ours"):
        fields = {"claim": "C13", "source": source, "better": "lower", "target": 0.3}
        yield Row(what=what, unit="s", **fields, **vars(seconds)).at(end_time(result))
    time = "PyTorch float32 pipeline's time over the program's"
    for claim, unit, target, words in (
        ("C13", "s", 4.0, time),
        ("C13", "cpu_s", 5.0, time.replace("time", "processor seconds")),
        ("C12", "s", 3.0, f"{time} (INT8 in C++ against float32 in Python)"),
    ):
        pairs = zip(result[f"pytorch_{unit}"], result[f"program_{unit}"], strict=True)
        estimate = quartiles([a / b for a, b in pairs], "inclusive")
        fields = {"claim": claim, "source": "guide", "target": target}
        ratio = Row(
            what=f"{surface}: {words}",
            unit="x",
            better="higher",
            **fields,
            **vars(estimate),
        )
        yield ratio.at(end_time(result))
    pairs = zip(result["fp32_s"], result["program_s"], strict=True)
    estimate = quartiles([a / b for a, b in pairs], "inclusive")
    what = f"{surface}: the float32 program's time over the INT8 program's"
    fields = {"claim": "C12", "source": "ours", "better": "higher"}
    yield Row(what=what, unit="x", **fields, **vars(estimate)).at(end_time(result))


def compression_rows(surface: str, result: dict) -> Iterator[Row]:
    """The guide's sentence on DPG (C2), for the segmenter of the line."""
    share = 100 * result["compressed_ap"] / result["float32_ap"]
    what = f"{surface}, segmenter by DPG at 8 bits"
    fields = {"claim": "C2", "source": "guide"}
    note = (
        f"{result['images']} parts; {result['compressed_ap']:.4f} of "
        f"{result['float32_ap']:.4f}; image AUROC {result['compressed_auroc']:.4f} of "
        f"{result['float32_auroc']:.4f}"
    )
    more = fields | {"better": "higher", "note": note}
    yield row(f"{what}: pixel AP", "% of float32", share, 98.0, **more)
    pairs = zip(result["compressed_bytes"], result["float32_bytes"], strict=True)
    memory = spread([100 * a / b for a, b in pairs])
    note = (
        f"a tile; {np.median(result['compressed_bytes']) / MB:.1f} of "
        f"{np.median(result['float32_bytes']) / MB:.1f} MB; "
        f"weights {100 * result['stored']:.1f} %"
    )
    yield Row(
        what=f"{what}: peak memory of inference",
        unit="% of float32",
        better="lower",
        target=35.0,
        note=note,
        **fields,
        **vars(memory),
    )


def size_rows(surface: str, result: dict) -> Iterator[Row]:
    ours = sum(result[name] for name in ("model.onnx", "inspector", "inspector.conf"))
    note = (
        f"model {result['model.onnx'] / MB:.2f} MB, program "
        f"{result['inspector'] / MB:.2f} MB, {result['library_name']} "
        f"{result['library'] / MB:.1f} MB; with the wheel's library "
        f"{(ours + result['wheel_library']) / MB:.1f} MB"
    )
    total = (ours + result["library"]) / MB
    yield row(
        f"{surface}: model, program and runtime library", "MB", total, 20, note=note
    )
    model = result["model.onnx"] / MB
    yield row(f"{surface}: the model", "MB", model, 87, source="guide")


def kill_rows(surface: str, result: dict) -> Iterator[Row]:
    what = f"{surface}: parts lost, judged twice or half-written"
    note = f"{result['kills']} kills"
    yield row(what, "parts", result["wrong"], 0, note=note)


def promise_rows(surface: str, result: dict) -> Iterator[Row]:
    count = len(result["statistics"])  # the good parts
    bounds = share(round(result["rate"] * count), count)
    what = f"{surface}: false alarms, promised 5 %"
    note = f"mean of 2,000 calibrations; this program's own rate {result['own']:.3f}"
    yield row(
        what,
        "of 1",
        result["rate"],
        RATE,
        low=bounds.low,
        high=bounds.high,
        interval=bounds.interval,
        n=count,
        note=note,
    )


def drift_rows(surface: str, result: dict) -> Iterator[Row]:
    what = f"{surface}: false drift alarms in 20 sequences of 400 good parts"
    bounds = share(result["false"], SEQUENCES).times(SEQUENCES)
    fields = {"claim": "C13", "source": "ours", "better": "lower", "target": 0}
    yield Row(what=what, unit="sequences", **fields, **vars(bounds))
    what = f"{surface}: parts until 95 % of the drift alarms, light at 97 %"
    yield row(what, "parts", result["needed"])


def hidden_rows(surface: str, both: list[dict]) -> Iterator[Row]:
    for what, words in (("recall", "recall"), ("false", "false alarms")):
        estimate = student(
            [each[f"hidden_{what}"] - each[f"clean_{what}"] for each in both]
        )
        clean = float(np.mean([each[f"clean_{what}"] for each in both]))
        name = f"{surface}: {words} with 5 % hidden defects, minus without"
        better = "higher" if what == "recall" else "lower"
        fields = {"claim": "C13", "source": "ours", "unit": "of 1", "better": better}
        note = f"patch memory; without hidden defects {clean:.3f}"
        yield Row(what=name, **fields, note=note, **vars(estimate))
