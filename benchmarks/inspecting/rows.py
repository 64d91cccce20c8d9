"""The ledger's rows for the measurements of `factory_line.py`."""

from collections.abc import Iterator

import numpy as np
from harness.interval import quartiles, student
from harness.runs import end_time

from deepseek_learn.ledger.rows import Row

from .station import RATE, SIDE

MB = 1e6


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


def speed_rows(surface: str, result: dict) -> Iterator[Row]:
    seconds = quartiles(result["program_s"], "inclusive")
    what = f"{surface}: seconds per part of {SIDE} x {SIDE}, one thread, all included"
    for source in ("guide", "ours"):
        fields = {"claim": "C13", "source": source, "better": "lower", "target": 0.3}
        yield Row(what=what, unit="s", **fields, **vars(seconds)).at(end_time(result))
    for unit, target, words in (
        ("s", 4.0, "PyTorch float32 pipeline's time over the program's"),
        (
            "cpu_s",
            5.0,
            "PyTorch float32 pipeline's processor seconds over the program's",
        ),
    ):
        pairs = zip(result[f"pytorch_{unit}"], result[f"program_{unit}"], strict=True)
        estimate = quartiles([a / b for a, b in pairs], "inclusive")
        fields = {
            "claim": "C13",
            "source": "guide",
            "better": "higher",
            "target": target,
        }
        what = f"{surface}: {words}"
        yield Row(what=what, unit="x", **fields, **vars(estimate)).at(end_time(result))


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
    what = f"{surface}: false alarms, promised 5 %"
    note = f"mean of 2,000 calibrations; this program's own rate {result['own']:.3f}"
    yield row(what, "of 1", result["rate"], RATE, note=note)


def drift_rows(surface: str, result: dict) -> Iterator[Row]:
    what = f"{surface}: false drift alarms in 20 sequences of 400 good parts"
    yield row(what, "sequences", result["false"], 0)
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
