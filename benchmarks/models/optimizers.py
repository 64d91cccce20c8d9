"""The compared optimizers and their tuning grids (`optimizer_builds.py` has the rest).

Each takes the model of a task and a configuration, one value per axis. All axes are
grids, fixed beforehand, with a stated starting value for the search.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from . import optimizer_builds as builds
from .optimizer_ideas import PartOfRows, RowFloor, SoapFirst, TailAverage

WARM_UP = 10  # warm-up steps of every optimizer


@dataclass(frozen=True)
class Contestant:
    """An optimizer.

    Attributes:
        build: `(model, configuration, steps)` → the optimizers to step together.
        axes: name → the values on its grid, in order; a task may add its own.
        start: the configuration from which a search starts.
    """

    name: str
    title: str
    build: Callable[[nn.Module, dict[str, Any], int], list]
    axes: dict[str, tuple]
    start: dict[str, Any]


def powers(low: float, count: int) -> tuple[float, ...]:
    """`count` values, each twice the previous one."""
    return tuple(low * 2**i for i in range(count))


RATES = powers(6.25e-5, 12)  # 6.25e-5 to 0.128
DECAYS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FIRST = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SECOND = (0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
SCHEDULES = ("cosine", "linear", "wsd")


def share(schedule: str, step: int, steps: int) -> float:
    """The fraction of the learning rate at a step, counted from 0; small at the last.

    "wsd" is constant for the first half and falls linearly over the second; "constant"
    is 1 throughout, for an optimizer with its own warm-up.
    """
    if schedule == "constant":
        return 1.0
    rising, progress = min((step + 1) / WARM_UP, 1.0), step / steps
    falling = {
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "wsd": min(1.0, 2 * (1 - progress)),
    }
    return rising * falling[schedule]


SHARED = {"lr": RATES, "beta1": FIRST, "schedule": SCHEDULES, "decay": DECAYS}
CONTESTANTS = {
    c.name: c
    for c in (
        Contestant(
            "adamw",
            "AdamW",
            builds.adamw,
            SHARED | {"beta2": SECOND},
            {"lr": 4e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "beta2": 0.95},
        ),
        Contestant(
            "deepopt",
            "DeepOpt",
            builds.deepopt,
            SHARED | {"adamw_beta1": FIRST},
            {"lr": 16e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "adamw_beta1": 0.9},
        ),
        Contestant(
            "muon",
            "torch Muon + AdamW",
            builds.muon,
            SHARED | {"adamw_beta1": FIRST},
            {"lr": 16e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "adamw_beta1": 0.9},
        ),
        Contestant(
            "kron",
            "Kron",
            builds.kron,
            SHARED | {"updates": (0.03, 0.1, 0.3, 1.0, "falling")},
            {"lr": 8e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "updates": "falling"},
        ),
        Contestant(
            "scion",
            "SCION",
            builds.scion,
            SHARED | {"lr": powers(2**-16, 12), "last": (1.0, 4.0, 15.0, 60.0)},
            {"lr": 2**-12, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "last": 15.0},
        ),
        Contestant(
            "soap",
            "SOAP",
            builds.soap,
            SHARED | {"beta2": SECOND},
            {"lr": 4e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "beta2": 0.95},
        ),
        Contestant(
            "free",
            "Schedule-Free AdamW",
            builds.schedule_free,
            {"lr": RATES, "beta1": (*FIRST[2:], 0.98), "decay": DECAYS}
            | {"warm-up": (0.02, 0.05, 0.1, 0.2), "beta2": SECOND},
            {"lr": 8e-3, "beta1": 0.9, "warm-up": 0.05, "decay": 0.1, "beta2": 0.99},
        ),
    )
}
_muon = CONTESTANTS["muon"]
CONTESTANTS["normuon"] = replace(
    _muon, name="normuon", title="NorMuon + AdamW", build=builds.normuon
)
CONTESTANTS["adamuon"] = replace(
    _muon, name="adamuon", title="AdaMuon + AdamW", build=builds.adamuon
)
CONTESTANTS["control"] = replace(
    CONTESTANTS["adamw"], name="control", title="AdamW, tuned as the others"
)
_deepopt = CONTESTANTS["deepopt"]
IDEAS = {
    "tail": ("DeepOpt, mean of the last weights", TailAverage),
    "floor": ("DeepOpt, no short rows", RowFloor),
    "soap_first": ("DeepOpt, SOAP's preconditioner first", SoapFirst),
    "part": ("DeepOpt, half of the rows", PartOfRows),
}
CONTESTANTS |= {
    name: replace(_deepopt, name=name, title=title, build=builds.with_idea(kind))
    for name, (title, kind) in IDEAS.items()
}
VARIANTS = {
    name: replace(
        _deepopt, name=name, title=title, build=partial(builds.deepopt, **options)
    )
    for name, title, options in (
        ("int8", "DeepOpt, int8 state", {"state": "int8"}),
        ("rows", "DeepOpt, rarely active rows", {"rarely_active": True}),
    )
}
PEERS = ("muon", "soap", "free", "normuon", "adamuon", "kron", "scion")
OTHERS = ("deepopt", *PEERS, "control")
TRIED_ON = ("flights",)  # where a run takes least


def variants(task_name: str) -> list[str]:
    """The variants of DeepOpt that are run on a task."""
    return ["int8", *(["rows"] if task_name in ("flights", "poems") else [])]


def others(task_name: str, quick: bool) -> list[str]:
    """Those that are raced to AdamW's loss with settings of their own."""
    return [*OTHERS, *(IDEAS if task_name in TRIED_ON and not quick else ())]


def axes_of(task, name: str) -> tuple[dict[str, tuple], dict[str, Any]]:
    """A contestant's tuning axes on a task, the task's own included, and the start.

    Learning rates come first, so that a search that ends early has tried them.
    """
    contestant = CONTESTANTS[name]
    middles = {axis: values[len(values) // 2] for axis, values in task.axes.items()}
    return {
        "lr": contestant.axes["lr"],
        **task.axes,
        **contestant.axes,
    }, contestant.start | middles
