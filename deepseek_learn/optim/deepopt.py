r"""DeepOpt: orthogonalized momentum for matrices, AdamW for everything else.

For a matrix `W` with gradient `G` (a convolution's kernel is treated as `[out, in * k]`):

.. math::
    M &\leftarrow \mu M + (1 - \mu) G, \qquad U = (1 - \mu) G + \mu M \\
    O &= \mathrm{balance}(\mathrm{orthogonalize}(U)) \\
    W &\leftarrow W - \eta \lambda\, W \odot [O \odot W > 0]
                 - \eta \cdot 0.2 \sqrt{\max(m, n)}\; O

The factor makes the root mean square of an update 0.2 times the learning rate, which is
typical of AdamW, so that one rate serves both (Liu et al. 2025, "Muon is scalable for
LLM training", arXiv 2502.16982). The decay acts only where it agrees with the update
(Chen et al. 2025, "Cautious weight decay", arXiv 2510.12402). :math:`\mu` rises early
in the run. The state is one average per weight, stored in two bytes by default.
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .moments import KINDS
from .roles import divide, listed
from .rules import move_adamw, move_matrices, move_rows
from .sharded import agreed, local

HUGE = 1e15  # float32 holds its square, and the sum of many such squares
RULES = {"matrix": move_matrices, "adamw": move_adamw, "rows": move_rows}


class DeepOpt(torch.optim.Optimizer):
    """An optimizer for deep networks that needs few steps and little memory.

    In `benchmarks/deepopt.py` it takes fewer steps than a tuned AdamW where networks are
    trained from scratch, and no fewer where pretrained layers are fine-tuned.

    Args:
        params: the model (preferred, because its modules identify the embeddings and
            the head), its `named_parameters()`, or a list of groups
            `{"params": ..., "lr": ...}`. Bare parameters are accepted with a warning.
            Each group is divided by role: `plan()` shows how, and `roles` overrides it.
        lr: the learning rate for matrices, a number or a one-element tensor.
        weight_decay: weight decay for matrices.
        momentum, first_momentum, momentum_warmup: the momentum rises linearly from
            `first_momentum`, or from `momentum` if that is less, to `momentum` over the
            first `momentum_warmup` steps. In a run of a few hundred steps it stays
            close to its starting value by design, because a momentum of 0.95 would cost
            extra steps in such a short run. `OneCycleLR` and `CyclicLR` control it, as
            they do AdamW's first beta; with `cycle_momentum=False` they leave both
            alone.
        beta2: decay rate of the moving average that balances rows or columns.
        adamw_lr: the learning rate for everything else, as a multiple of `lr`. A new
            head on pretrained layers worked best at 1/16.
        betas, eps, adamw_weight_decay: the usual settings of the AdamW update.
        state: how averages are stored: "fp32", "bf16" or "int8". All arithmetic is in
            float32. Rows of fewer than 5 entries are never stored as int8, and the few
            variances are always float32.
        nonfinite: what to do if a gradient is not finite: "raise" an error, or "skip"
            the step, which changes nothing and is counted in `skipped`.
        roles: name pattern → "matrix", "adamw" or "rows"; this overrides everything
            else.
        rarely_active: True, or the `Groups` of a `DynamicParameterGroup`: rows of
            embeddings, and of layers whose neurons are mostly in the group "low", are
            updated only in steps in which they have a gradient, without momentum. This
            saves memory and needs the model as `params`.
        maximize: ascend the gradient instead of descending; the decay is unchanged.
        compiled: compile the update of matrices (needs a C++ compiler, or a GPU). If
            that fails, the optimizer warns once and continues uncompiled.

    Raises:
        ValueError: if a number is out of range, there are no parameters, or one is
            duplicate or complex; in `step`, if a gradient is sparse or (see
            `nonfinite`) not finite; in `load_state_dict`, if the state is from another
            optimizer or from parameters with other shapes, in which case nothing is
            changed.

    Parameters without a gradient are left unchanged. A sharded matrix (FSDP2) is
    gathered for its update; averages stay sharded, so that each process saves and loads
    its own `state_dict` (do not use `torch.distributed.checkpoint` for this optimizer:
    it would treat them as identical on all processes). Gradient entries beyond 1e15 are
    clamped to it: the squares of much larger ones are infinite in float32. Weights in
    bfloat16 lose any part of an update that is smaller than 1/256 of the weight, so
    keep them in float32 and use autocast instead.
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
                f"rarely_active needs the model as params: only its modules show which "
                f"rows are looked up; got a {type(params).__name__}."
            )
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
        }
        defaults |= {"first_momentum": first_momentum, "beta2": beta2}
        defaults |= {"momentum_warmup": momentum_warmup}
        defaults |= {"adamw_lr": adamw_lr, "betas": betas, "eps": eps}
        defaults |= {"adamw_weight_decay": adamw_weight_decay, "state": state}
        defaults |= {"nonfinite": nonfinite, "roles": dict(roles or {})}
        defaults |= {"maximize": maximize, "compiled": compiled}
        defaults |= {"step": 0, "skipped": 0}
        super().__init__(listed(params, rarely_active), defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, divided by role; its "params" need names if the others have them."""
        roles = param_group.get("roles", self.defaults["roles"])
        seen = {p for group in self.param_groups for p in group["params"]}
        if "nonfinite" in param_group:
            raise ValueError(
                "nonfinite must be set for the whole optimizer; got it in a group."
            )
        _check_options(self.defaults | param_group)
        for part in divide(listed([param_group])[0], roles, seen):
            options = self.defaults | part
            ratio = 1.0 if part["role"] == "matrix" else options["adamw_lr"]
            part["lr"] = options["lr"] * ratio  # a new tensor if lr is one
            super().add_param_group(part)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state saved before this option existed
            group.setdefault("maximize", self.defaults.get("maximize", False))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return the closure's loss."""
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
        """The number of steps skipped because a gradient was not finite."""
        return self.param_groups[0]["skipped"]

    def state_bytes(self) -> int:
        """Return the bytes of all stored averages (if sharded, of this process's)."""
        return sum(self._bytes(p) for g in self.param_groups for p in g["params"])

    def plan(self) -> pd.DataFrame:
        """Return one row per parameter: role, reason, equivalent matrices, sizes."""
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
        """Restore a saved state, bit for bit, whatever the parameters' dtype is."""
        self._check_saved(state_dict)
        saved = state_dict["param_groups"]
        super().load_state_dict(state_dict)
        # torch casts every average to its parameter's dtype: restore the saved values
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
                    f"state_dict must come from DeepOpt; got groups with "
                    f"{sorted(set(group) - {'params'})}."
                )
        roles = [group["role"] for group in self.param_groups]
        saved_roles = [group["role"] for group in saved]
        if roles != saved_roles:
            raise ValueError(
                f"state_dict must have groups with the roles {roles}; got {saved_roles}."
            )
        for group, old in zip(self.param_groups, saved, strict=True):
            if list(map(tuple, group["shapes"])) != list(map(tuple, old["shapes"])):
                raise ValueError(
                    f"state_dict must have parameters of the same shapes; the group "
                    f"{group['role']!r} has {_first_mismatch(group, old)}."
                )
            for name, p, key in zip(
                _names(group), group["params"], old["params"], strict=True
            ):
                entry = state_dict["state"].get(key, {})
                mean, momentum = entry.get("mean"), entry.get("momentum")  # [rows, n]
                mismatch = mean is not None and mean.shape != local(p).shape
                if mismatch or (
                    momentum is not None and momentum.numel() != local(p).numel()
                ):
                    got = momentum if mean is None else mean
                    raise ValueError(
                        f"state_dict must hold this process's part of {name}, "
                        f"{list(local(p).shape)}; got {list(got.shape)}."
                    )

    def _usable(self) -> bool:
        """Return whether all gradients are finite, and clamp huge entries.

        If they are not finite, raise an error or count the step, as `nonfinite` says.
        """
        # 1. this process's part of each gradient, dense and not empty
        named = [
            (name, local(p.grad))
            for group in self.param_groups
            for name, p in zip(_names(group), group["params"], strict=True)
            if p.grad is not None
        ]
        for name, gradient in named:
            if gradient.is_sparse:
                raise ValueError(
                    f"gradients must be dense; {name}'s is sparse: create the embedding "
                    f"with sparse=False."
                )
        named = [(name, gradient) for name, gradient in named if gradient.numel()]
        # 2. the norms reveal NaN and huge entries, and are cheaper than the maxima
        gradients = [gradient for _, gradient in named]
        finite = not gradients or _all_below(HUGE, torch._foreach_norm(gradients))
        largest: Sequence[Tensor] = ()  # stays empty unless an entry is huge
        if not finite:
            largest = torch._foreach_norm(gradients, math.inf)
            finite = _all_below(math.inf, largest)
        # 3. all processes must agree: clamp, or raise or skip
        parameters = [p for g in self.param_groups for p in g["params"]]
        if agreed(finite, parameters):
            for (_, gradient), size in zip(named, largest, strict=False):
                if size > HUGE:
                    gradient.clamp_(-HUGE, HUGE)
            return True
        if self.defaults["nonfinite"] == "raise":
            pairs = zip(named, largest, strict=False)
            names = [name for (name, _), x in pairs if not x.isfinite()]
            places = ", ".join(names[:3]) or "another process"
            raise ValueError(
                f"gradients must be finite; got NaN or infinity in {places}. Lower the "
                f'learning rate, or skip such steps with nonfinite="skip".'
            )
        for group in self.param_groups:
            group["skipped"] += 1
        return False

    def _bytes(self, p: Tensor) -> int:
        tensors = [x for x in self.state.get(p, {}).values() if isinstance(x, Tensor)]
        return sum(local(x).numel() * x.element_size() for x in tensors)


def _all_below(limit: float, numbers: Sequence[Tensor]) -> bool:
    """Return whether all scalars are within `limit` of 0, with one check per device."""
    devices = {x.device for x in numbers}
    joined = [
        torch.stack([x.float() for x in numbers if x.device == d]) for d in devices
    ]
    return all(bool((x.abs() < limit).all()) for x in joined)


def _names(group: Mapping[str, Any]) -> list[str]:
    return group.get("param_names") or ["a parameter"] * len(group["params"])


def _first_mismatch(group: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Describe the first parameter whose shape differs in `old`."""
    if len(group["shapes"]) != len(old["shapes"]):
        return f"{len(group['shapes'])} parameters, not {len(old['shapes'])}"
    columns = _names(group), group["shapes"], old["shapes"]
    for name, shape, old_shape in zip(*columns, strict=True):
        if tuple(shape) != tuple(old_shape):
            return f"{name} of {list(shape)}, not {list(old_shape)} (matrices, m, n)"
    return "no other shapes"


def _check_options(options: Mapping[str, Any]) -> None:
    """Reject the options of a group if one is out of range."""
    lr = options["lr"]
    lr = lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr
    _check_positive(lr=lr, adamw_lr=options["adamw_lr"], eps=options["eps"])
    betas = options["betas"]
    if not (isinstance(betas, tuple | list) and len(betas) == 2):
        raise ValueError(f"betas must be two numbers; got {betas!r}.")
    decays = {k: options[k] for k in ("momentum", "first_momentum", "beta2")}
    _check_fraction(**decays, beta_1=betas[0], beta_2=betas[1])
    names = ("weight_decay", "adamw_weight_decay", "momentum_warmup")
    _check_not_negative(**{k: options[k] for k in names})
    _check_choice("state", options["state"], tuple(KINDS))
    _check_choice("nonfinite", options["nonfinite"], ("raise", "skip"))


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 < number < float("inf")):
            raise ValueError(f"{name} must be a number above 0; got {number!r}.")


def _check_fraction(**numbers: float) -> None:
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
