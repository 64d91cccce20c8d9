"""The compared optimizers: how each is built, and its tuning grid.

Each takes the model of a task and a configuration, one value per axis. All axes are
grids, fixed beforehand, with a stated starting value for the search.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from deepseek_learn.optim import DeepOpt

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


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: vectors without weight decay."""
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def apart(model: nn.Module, c: dict[str, Any]) -> list[dict[str, Any]]:
    """As `decayed`; where "rest" is an axis, non-matrices have their own learning rate."""
    if "rest" not in c:
        return decay_groups(model)
    rates = {"matrix": c["lr"], "adamw": c["lr"] * c["rest"]}
    return [
        {"params": [p], "lr": rates[group["role"]]}
        | ({} if p.dim() > 1 else {"weight_decay": 0.0})
        for group in DeepOpt(model).param_groups
        for p in group["params"]
    ]


def adamw(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """PyTorch's fused AdamW; no weight decay on vectors."""
    betas = c["beta1"], c["beta2"]
    options = {"lr": c["lr"], "betas": betas, "weight_decay": c["decay"]}
    return [torch.optim.AdamW(apart(model, c), fused=True, **options)]


def deepopt(model: nn.Module, c: dict[str, Any], steps: int, **options) -> list:
    """`DeepOpt` with its defaults except for the axes; its momentum starts at beta1."""
    options |= {"first_momentum": c["beta1"], "betas": (c["adamw_beta1"], 0.95)}
    options |= {"adamw_lr": c.get("rest", 1.0)}
    kind = options.pop("kind", DeepOpt)
    return [kind(model, c["lr"], weight_decay=c["decay"], **options)]


def idea(kind: type) -> Callable[[nn.Module, dict[str, Any], int], list]:
    """DeepOpt with one idea added; it is told how many steps there will be."""
    return lambda model, c, steps: deepopt(
        model, c, steps, kind=partial(kind, steps=steps)
    )


def on_matrices(optimizer: type) -> type:
    """An optimizer that takes only matrices, on DeepOpt's matrix views.

    It takes DeepOpt's group of the role "matrix", "params" and their "shapes".
    """

    class OnMatrices(optimizer):
        def __init__(self, group: dict[str, Any], facts: dict[str, Any], **options):
            pairs = zip(group["params"], group["shapes"], strict=True)
            # p → views of its matrices [m, n], on the same storage
            self.pairs = [(p, list(p.detach().view(shape))) for p, shape in pairs]
            matrices = [m for _, views in self.pairs for m in views]
            super().__init__([{"params": matrices} | facts], **options)

        def zero_grad(self, set_to_none: bool = True) -> None:
            for p, _ in self.pairs:
                p.grad = None

        def step(self, closure=None):
            for p, views in self.pairs:
                shape = len(views), *views[0].shape
                for view, gradient in zip(views, p.grad.view(shape), strict=True):
                    view.grad = gradient
            return super().step()

    return OnMatrices


def with_adamw(
    optimizer: type, model: nn.Module, c: dict[str, Any], facts: dict, **options
) -> list:
    """An optimizer on DeepOpt's matrix views, AdamW on the rest."""
    groups = {g["role"]: g for g in DeepOpt(model).param_groups}
    options |= {"lr": c["lr"], "weight_decay": c["decay"]}
    return [
        on_matrices(optimizer)(groups["matrix"], facts, **options),
        torch.optim.AdamW(
            groups["adamw"]["params"],
            lr=c["lr"] * c.get("rest", 1.0),
            betas=(c["adamw_beta1"], 0.95),
            weight_decay=0.0,
            fused=True,
        ),
    ]


def muon(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """PyTorch's Muon on DeepOpt's matrix views, AdamW on the rest."""
    options = {"momentum": c["beta1"], "adjust_lr_fn": "match_rms_adamw"}
    return with_adamw(torch.optim.Muon, model, c, {}, **options)


def normuon(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """NorMuon of `pytorch-optimizer` in place of PyTorch's Muon."""
    from pytorch_optimizer import NorMuon

    options = {"momentum": c["beta1"], "use_adjusted_lr": True}
    return with_adamw(NorMuon, model, c, {"use_muon": True}, **options)


def adamuon(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """AdaMuon of `pytorch-optimizer` in place of PyTorch's Muon."""
    from pytorch_optimizer import AdaMuon

    options = {"betas": (c["beta1"], 0.95), "use_adjusted_lr": True}
    return with_adamw(AdaMuon, model, c, {"use_muon": True}, **options)


def kron(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """Kron of `pytorch-optimizer`, PSGD with Kronecker factors, none longer than 2048."""
    from pytorch_optimizer import Kron

    options = {"momentum": c["beta1"], "weight_decay": c["decay"]}
    options["max_size_triangular"] = 2048
    probability = None if c["updates"] == "falling" else c["updates"]
    options["pre_conditioner_update_probability"] = probability
    return [Kron(apart(model, c), lr=c["lr"], **options)]


def scion(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """SCION of `pytorch-optimizer`: the sign for tables and heads, spectral elsewhere."""
    from pytorch_optimizer import SCION
    from pytorch_optimizer.optimizer.scion import LMONorm

    groups = apart(model, c)
    roles = {id(p): g["role"] for g in DeepOpt(model).param_groups for p in g["params"]}
    split = []
    for group in groups:
        for p in group["params"]:
            is_last = roles[id(p)] == "adamw" and p.dim() == 2
            norm = LMONorm.SIGN if is_last else LMONorm.AUTO
            scale = RADIUS * (c["last"] if is_last else 1.0)
            split.append(group | {"params": [p], "norm_type": norm, "scale": scale})
    options = {"momentum": 1 - c["beta1"], "weight_decay": c["decay"]}
    return [SCION(split, lr=c["lr"], **options)]


RADIUS = 50.0  # of its authors, for what is not the last layer; the last: 60 times that


def soap(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """SOAP of `pytorch-optimizer`: kernels axis by axis, no axis longer than 2048."""
    from pytorch_optimizer import SOAP

    betas = c["beta1"], c["beta2"]
    return [
        SOAP(
            apart(model, c),
            lr=c["lr"],
            betas=betas,
            weight_decay=c["decay"],
            max_precondition_dim=2048,
        )
    ]


def schedule_free(model: nn.Module, c: dict[str, Any], steps: int) -> list:
    """Schedule-Free AdamW of `pytorch-optimizer`; it replaces the schedule."""
    from pytorch_optimizer import ScheduleFreeAdamW

    return [
        ScheduleFreeAdamW(
            apart(model, c),
            lr=c["lr"],
            betas=(c["beta1"], c["beta2"]),
            weight_decay=c["decay"],
            warmup_steps=round(c["warm-up"] * steps),
        )
    ]


SHARED = {"lr": RATES, "beta1": FIRST, "schedule": SCHEDULES, "decay": DECAYS}
CONTESTANTS = {
    c.name: c
    for c in (
        Contestant(
            "adamw",
            "AdamW",
            adamw,
            SHARED | {"beta2": SECOND},
            {"lr": 4e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "beta2": 0.95},
        ),
        Contestant(
            "deepopt",
            "DeepOpt",
            deepopt,
            SHARED | {"adamw_beta1": FIRST},
            {"lr": 16e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "adamw_beta1": 0.9},
        ),
        Contestant(
            "muon",
            "torch Muon + AdamW",
            muon,
            SHARED | {"adamw_beta1": FIRST},
            {"lr": 16e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "adamw_beta1": 0.9},
        ),
        Contestant(
            "normuon",
            "NorMuon + AdamW",
            normuon,
            SHARED | {"adamw_beta1": FIRST},
            {"lr": 16e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "adamw_beta1": 0.9},
        ),
        Contestant(
            "adamuon",
            "AdaMuon + AdamW",
            adamuon,
            SHARED | {"adamw_beta1": FIRST},
            {"lr": 16e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "adamw_beta1": 0.9},
        ),
        Contestant(
            "kron",
            "Kron",
            kron,
            SHARED | {"updates": (0.03, 0.1, 0.3, 1.0, "falling")},
            {"lr": 8e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "updates": "falling"},
        ),
        Contestant(
            "scion",
            "SCION",
            scion,
            SHARED | {"lr": powers(2**-16, 12), "last": (1.0, 4.0, 15.0, 60.0)},
            {"lr": 2**-12, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "last": 15.0},
        ),
        Contestant(
            "soap",
            "SOAP",
            soap,
            SHARED | {"beta2": SECOND},
            {"lr": 4e-3, "beta1": 0.9, "schedule": "linear"}
            | {"decay": 0.1, "beta2": 0.95},
        ),
        Contestant(
            "free",
            "Schedule-Free AdamW",
            schedule_free,
            {"lr": RATES, "beta1": (*FIRST[2:], 0.98), "decay": DECAYS}
            | {"warm-up": (0.02, 0.05, 0.1, 0.2), "beta2": SECOND},
            {"lr": 8e-3, "beta1": 0.9, "warm-up": 0.05, "decay": 0.1, "beta2": 0.99},
        ),
    )
}
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
    name: replace(_deepopt, name=name, title=title, build=idea(kind))
    for name, (title, kind) in IDEAS.items()
}
VARIANTS = {
    name: replace(_deepopt, name=name, title=title, build=partial(deepopt, **options))
    for name, title, options in (
        ("int8", "DeepOpt, int8 state", {"state": "int8"}),
        ("rows", "DeepOpt, rarely active rows", {"rarely_active": True}),
    )
}
PEERS = ("muon", "soap", "free", "normuon", "adamuon", "kron", "scion")
OTHERS = ("deepopt", *PEERS, "control")
TRIED_ON = ("flights", "fashion")  # where a run takes least


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
