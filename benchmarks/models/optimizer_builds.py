"""How each optimizer of `deepopt.py` is built for a model from its settings."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from deepseek_learn.optim import DeepOpt

# of SCION's authors, for all but the last layer, which has 60 times as much
RADIUS = 50.0


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: vectors without weight decay."""
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def apart(model: nn.Module, c: dict[str, Any]) -> list[dict[str, Any]]:
    """`decay_groups`, but with its own rate for what is no matrix, if "rest" is an axis."""
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


def deepopt(
    model: nn.Module,
    c: dict[str, Any],
    steps: int,
    kind: Callable[..., DeepOpt] = DeepOpt,
    **options,
) -> list:
    """`DeepOpt` with its defaults except for the axes; its momentum starts at beta1."""
    options |= {"first_momentum": c["beta1"], "betas": (c["adamw_beta1"], 0.95)}
    options |= {"adamw_lr": c.get("rest", 1.0)}
    return [kind(model, c["lr"], weight_decay=c["decay"], **options)]


def with_idea(kind: type) -> Callable[[nn.Module, dict[str, Any], int], list]:
    """DeepOpt with one idea added; it is told how many steps there will be."""
    return lambda model, c, steps: deepopt(
        model, c, steps, kind=partial(kind, steps=steps)
    )


def on_matrices(optimizer: type) -> type:
    """An optimizer that takes only matrices, on DeepOpt's matrix views.

    Its arguments are DeepOpt's group of the role "matrix" ("params" and their "shapes",
    `(K, m, n)` each), further entries of the optimizer's own group, and its options.
    """

    class OnMatrices(optimizer):
        def __init__(self, group: dict[str, Any], entries: dict[str, Any], **options):
            pairs = zip(group["params"], group["shapes"], strict=True)
            # p → views of its matrices [m, n], on the same storage
            self.pairs = [(p, list(p.detach().view(shape))) for p, shape in pairs]
            matrices = [m for _, views in self.pairs for m in views]
            super().__init__([{"params": matrices} | entries], **options)

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
    optimizer: type, model: nn.Module, c: dict[str, Any], entries: dict, **options
) -> list:
    """An optimizer on DeepOpt's matrix views (see `on_matrices`), AdamW on the rest."""
    groups = {g["role"]: g for g in DeepOpt(model).param_groups}
    options |= {"lr": c["lr"], "weight_decay": c["decay"]}
    return [
        on_matrices(optimizer)(groups["matrix"], entries, **options),
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
