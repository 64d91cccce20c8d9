r"""DeepOpt: orthogonalized momentum for matrices, AdamW for what is no matrix.

For a matrix `W` with gradient `G` (a convolution's kernel is seen as `[out, in * k]`):

.. math::
    M &\leftarrow \mu M + (1 - \mu) G, \qquad U = (1 - \mu) G + \mu M \\
    O &= \mathrm{balance}(\mathrm{orthogonalize}(U)) \\
    W &\leftarrow W - \eta \lambda\, W \odot [O \odot W > 0]
                 - \eta \cdot 0.2 \sqrt{\max(m, n)}\; O

The factor makes the root mean square of an update 0.2 of the learning rate, as AdamW's
usually is, so that one rate serves both (Liu et al. 2025, "Muon is scalable", arXiv
2502.16982). The decay acts only where it agrees with the update (Chen et al. 2025,
"Cautious weight decay", arXiv 2510.12402). :math:`\mu` rises while the run is young. One
average a weight is all that is kept, in two bytes by default.
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .moments import KINDS
from .roles import divide, listed
from .rules import move_adamw, move_matrices, move_rows
from .sharded import agreed, local

HUGE = 1e15  # whose square float32 holds, and the sum of many such squares
RULES = {"matrix": move_matrices, "adamw": move_adamw, "rows": move_rows}


class DeepOpt(torch.optim.Optimizer):
    """An optimizer for deep networks that needs few steps and little memory.

    `benchmarks/deepopt.py` found fewer steps than a tuned AdamW's where networks are
    trained from scratch, and no fewer where pretrained layers are fine-tuned.

    Args:
        params: the model (best: its modules say what is an embedding and what the
            head), its `named_parameters()`, or a list of groups `{"params": ..., "lr":
            ...}`. Bare parameters work, with a warning. Each group is divided by role:
            `plan()` shows how, `roles` overrules it.
        lr: the learning rate of matrices, a number or a tensor of one.
        weight_decay: of matrices.
        momentum, first_momentum, momentum_warmup: the momentum rises in a line from
            `first_momentum`, or from `momentum` if that is less, to `momentum` over the
            first `momentum_warmup` steps; in a run of a few hundred it stays near the
            first, which is meant so: there a momentum of 0.95 costs steps. Under
            `OneCycleLR` and `CyclicLR` it is theirs, as AdamW's first beta is; they
            leave both alone with `cycle_momentum=False`.
        beta2: of the average by which rows, or columns, are balanced.
        adamw_lr: the learning rate of all else, as a multiple of `lr`. A new head on
            pretrained layers was best at 1/16.
        betas, eps, adamw_weight_decay: AdamW's.
        state: how averages are stored, "fp32", "bf16" or "int8"; the arithmetic is in
            float32. Rows of less than 5 entries are never int8; variances, few of
            them, are float32.
        nonfinite: what to do when a gradient is not finite: "raise", or "skip": leave
            everything as it is and count the step in `skipped`.
        roles: pattern of names → "matrix", "adamw" or "rows", before everything else.
        rarely_active: True, or the `Groups` of a `DynamicParameterGroup`: rows of
            embeddings, and of layers whose neurons are mostly in the group "low", are
            updated only in steps in which they have a gradient, without a momentum. It
            saves memory. Needs the model as `params`.
        maximize: go up the gradient instead of down; the decay stays a decay.
        compiled: compile the update of matrices (needs a C++ compiler, or a GPU); where
            that fails, it warns once and computes as without.

    Raises:
        ValueError: for a number out of range, no parameter or one given twice, a
            complex one; in `step`, for a gradient that is sparse or (see `nonfinite`)
            not finite; in `load_state_dict`, for the state of another optimizer or of
            parameters of other shapes, before anything is changed.

    Parameters without a gradient are left alone. Of sharded parameters (FSDP2) a matrix
    is gathered for its update; averages stay sharded, so that each process saves and
    loads a `state_dict` of its own (`torch.distributed.checkpoint` would take them for
    alike on all processes: do not use it for this optimizer). Entries of gradients
    beyond 1e15 are cut to it: the squares of much larger ones are infinite in float32.
    Weights in bfloat16 lose what of an update is below 1/256 of them: better keep them in
    float32, and use autocast.
    """

    def __init__(
        self,
        params: nn.Module | Iterable,
        lr: float = 0.02,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        first_momentum: float = 0.8,
        momentum_warmup: int = 1000,
        beta2: float = 0.95,
        adamw_lr: float = 1.0,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        adamw_weight_decay: float = 0.0,
        state: str = "bf16",
        nonfinite: str = "raise",
        roles: Mapping[str, str] | None = None,
        rarely_active: Any = None,
        maximize: bool = False,
        compiled: bool = False,
    ):
        if rarely_active and not isinstance(params, nn.Module):
            raise ValueError(
                f"rarely_active needs the model as params: only its modules say which "
                f"rows are looked up; got a {type(params).__name__}."
            )
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        defaults |= {"first_momentum": first_momentum, "beta2": beta2}
        defaults |= {"momentum_warmup": momentum_warmup}
        defaults |= {"adamw_lr": adamw_lr, "betas": betas, "eps": eps}
        defaults |= {"adamw_weight_decay": adamw_weight_decay, "state": state}
        defaults |= {"nonfinite": nonfinite, "roles": dict(roles or {})}
        defaults |= {"maximize": maximize, "compiled": compiled}
        defaults |= {"step": 0, "skipped": 0}
        super().__init__(listed(params, rarely_active), defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, divided by role; its "params" with names, if the others have."""
        asked = param_group.get("roles", self.defaults["roles"])
        seen = {p for group in self.param_groups for p in group["params"]}
        if "nonfinite" in param_group:
            raise ValueError("nonfinite must be the optimizer's; got it in a group.")
        _check_options(self.defaults | param_group)
        for part in divide(listed([param_group])[0], asked, seen):
            options = self.defaults | part
            ratio = 1.0 if part["role"] == "matrix" else options["adamw_lr"]
            part["lr"] = options["lr"] * ratio  # of a tensor, one of its own
            super().add_param_group(part)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state of before there was this option
            group.setdefault("maximize", self.defaults.get("maximize", False))

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self._usable():
            return loss
        for group in self.param_groups:
            group["step"] += 1
            pairs = zip(group["params"], group["shapes"], strict=True)
            active = [(p, shape) for p, shape in pairs if p.grad is not None]
            RULES[group["role"]](group, active, self.state)
        return loss

    @property
    def skipped(self) -> int:
        """Steps left out because a gradient was not finite."""
        return self.param_groups[0]["skipped"]

    def state_bytes(self) -> int:
        """Bytes of all averages that are kept, here if they are sharded."""
        return sum(self._bytes(p) for g in self.param_groups for p in g["params"])

    def plan(self) -> pd.DataFrame:
        """One row a parameter: role, the reason, the matrices it is seen as, bytes."""
        rows = []
        for group in self.param_groups:
            names = group.get("param_names", [""] * len(group["params"]))
            columns = names, group["params"], group["shapes"], group["reasons"]
            for name, p, shape, reason in zip(*columns, strict=True):
                matrices = "{} x [{}, {}]".format(*shape) if p.dim() > 1 else ""
                row = {"parameter": name, "role": group["role"], "reason": reason}
                row |= {"matrices": matrices, "weights": p.numel()}
                rows.append(row | {"state_bytes": self._bytes(p)})
        return pd.DataFrame(rows)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state, bit for bit, whatever the parameters' dtype is."""
        self._check_saved(state_dict)
        saved = state_dict["param_groups"]
        super().load_state_dict(state_dict)
        # torch has cast every average to its parameter's dtype: put back what was saved
        for old, group in zip(saved, self.param_groups, strict=True):
            for key, p in zip(old["params"], group["params"], strict=True):
                for name, value in state_dict["state"].get(key, {}).items():
                    if isinstance(value, Tensor):
                        device = local(p).device
                        self.state[p][name] = value.to(device, copy=True)

    def _check_saved(self, state_dict: Mapping[str, Any]) -> None:
        saved = state_dict.get("param_groups", [{}])
        for group in saved:
            if "role" not in group or "shapes" not in group:
                raise ValueError(
                    f"state_dict must be one of DeepOpt; got groups with "
                    f"{sorted(set(group) - {'params'})}."
                )
        mine = [group["role"] for group in self.param_groups]
        theirs = [group["role"] for group in saved]
        if mine != theirs:
            raise ValueError(
                f"state_dict must have groups of the roles {mine}; got {theirs}."
            )
        for group, old in zip(self.param_groups, saved, strict=True):
            if list(map(tuple, group["shapes"])) != list(map(tuple, old["shapes"])):
                raise ValueError(
                    f"state_dict must be of parameters of the same shapes; the group "
                    f"{group['role']!r} has {_first_other(group, old)}."
                )
            for name, p, key in zip(
                _names(group), group["params"], old["params"], strict=True
            ):
                kept = state_dict["state"].get(key, {})
                mean, momentum = kept.get("mean"), kept.get("momentum")  # [rows, n]
                other = mean is not None and mean.shape != local(p).shape
                if other or (
                    momentum is not None and momentum.numel() != local(p).numel()
                ):
                    got = momentum if mean is None else mean
                    raise ValueError(
                        f"state_dict must be of this process's part of {name}, "
                        f"{list(local(p).shape)}; got {list(got.shape)}."
                    )

    def _usable(self) -> bool:
        """Are all gradients finite? Counts or raises where not; cuts what is huge."""
        named = [
            (name, local(p.grad))
            for group in self.param_groups
            for name, p in zip(_names(group), group["params"], strict=True)
            if p.grad is not None
        ]
        for name, gradient in named:
            if gradient.is_sparse:
                raise ValueError(
                    f"gradients must be dense; {name}'s is sparse: make the embedding "
                    f"with sparse=False."
                )
        named = [(name, gradient) for name, gradient in named if gradient.numel()]
        # the norm shows both NaN and what is huge, and is cheaper than the largest entry
        gradients = [gradient for _, gradient in named]
        fine = not gradients or _all_below(HUGE, torch._foreach_norm(gradients))
        largest = []  # so it stays where nothing is huge
        if not fine:
            largest = torch._foreach_norm(gradients, math.inf)
            fine = _all_below(math.inf, largest)
        parameters = [p for g in self.param_groups for p in g["params"]]
        if agreed(fine, parameters):
            for (_, gradient), size in zip(named, largest, strict=False):
                if size > HUGE:
                    gradient.clamp_(-HUGE, HUGE)
            return True
        if self.defaults["nonfinite"] == "raise":
            pairs = zip(named, largest, strict=False)
            bad = [name for (name, _), x in pairs if not x.isfinite()]
            raise ValueError(
                f"gradients must be finite; not so: {', '.join(bad[:3]) or 'elsewhere'}. "
                f"Lower the learning rate, or leave such steps out with "
                f'nonfinite="skip".'
            )
        for group in self.param_groups:
            group["skipped"] += 1
        return False

    def _bytes(self, p: Tensor) -> int:
        kept = [x for x in self.state.get(p, {}).values() if isinstance(x, Tensor)]
        return sum(local(x).numel() * x.element_size() for x in kept)


def _all_below(limit: float, numbers: Sequence[Tensor]) -> bool:
    """Are all scalars less than `limit` from 0? Those of one device are asked at once."""
    devices = {x.device for x in numbers}
    joined = [
        torch.stack([x.float() for x in numbers if x.device == d]) for d in devices
    ]
    return all(bool((x.abs() < limit).all()) for x in joined)


def _names(group: Mapping[str, Any]) -> list[str]:
    return group.get("param_names") or ["a parameter"] * len(group["params"])


def _first_other(group: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """The first parameter whose shape is another one in `old`, in words."""
    if len(group["shapes"]) != len(old["shapes"]):
        return f"{len(group['shapes'])} parameters, not {len(old['shapes'])}"
    columns = _names(group), group["shapes"], old["shapes"]
    for name, mine, theirs in zip(*columns, strict=True):
        if tuple(mine) != tuple(theirs):
            return f"{name} of {list(mine)}, not {list(theirs)} (matrices, m, n)"
    return "no other shapes"


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse the options of a group of which one is out of range."""
    lr = options["lr"]
    lr = lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr
    _check_positive(lr=lr, adamw_lr=options["adamw_lr"], eps=options["eps"])
    betas = options["betas"]
    if not (isinstance(betas, tuple | list) and len(betas) == 2):
        raise ValueError(f"betas must be two numbers; got {betas!r}.")
    shares = {k: options[k] for k in ("momentum", "first_momentum", "beta2")}
    _check_share(**shares, beta_1=betas[0], beta_2=betas[1])
    names = ("weight_decay", "adamw_weight_decay", "momentum_warmup")
    _check_not_negative(**{k: options[k] for k in names})
    _check_choice("state", options["state"], tuple(KINDS))
    _check_choice("nonfinite", options["nonfinite"], ("raise", "skip"))


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 < number < float("inf")):
            raise ValueError(f"{name} must be a number above 0; got {number!r}.")


def _check_share(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 <= number < 1):
            raise ValueError(f"{name} must be at least 0 and below 1; got {number!r}.")


def _check_not_negative(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 <= number < float("inf")):
            raise ValueError(f"{name} must be at least 0; got {number!r}.")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {known}; got {value!r}.")
