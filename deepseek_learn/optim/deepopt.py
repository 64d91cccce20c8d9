r"""The DeepOpt optimizer: orthogonalized momentum for matrices, AdamW for the rest.

A matrix `W` with gradient `G` is updated as follows. The kernel of a convolution is
reshaped to `[out, in * k]` first.

.. math::
    M &\leftarrow \mu M + (1 - \mu) G, \qquad U = (1 - \mu) G + \mu M \\
    O &= \mathrm{balance}(\mathrm{orthogonalize}(U)) \\
    W &\leftarrow W - \eta \lambda\, W \odot [O \odot W > 0]
                 - \eta \cdot 0.2 \sqrt{\max(m, n)}\; O

With the factor in the last term, the root mean square of an update is 0.2 times the
learning rate. This is typical of AdamW, so both rules can share one learning rate (Liu
et al. 2025, "Muon is scalable for LLM training", arXiv 2502.16982). Weight decay is
applied only to entries where it has the same sign as the update (Chen et al. 2025,
"Cautious weight decay", arXiv 2510.12402). The momentum :math:`\mu` increases early in
training. The optimizer keeps one moving average per weight, stored in two bytes by
default.
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .options import check_options
from .roles import divide, listed, names_of, with_list
from .rules import move_adamw, move_matrices, move_rows
from .saved import check_saved
from .sharded import agreed, local

HUGE = 1e15  # float32 can represent its square and the sum of many such squares
RULES = {"matrix": move_matrices, "adamw": move_adamw, "rows": move_rows}


class DeepOpt(torch.optim.Optimizer):
    """An optimizer that trains deep networks in few steps and with little memory.

    In `benchmarks/deepopt.py`, DeepOpt takes fewer steps than a tuned AdamW when
    training from scratch, but not when fine-tuning pretrained layers.

    Args:
        params: the model, or whatever the optimizers of PyTorch accept: its
            `named_parameters()` or `parameters()`, or a list of groups
            `{"params": ..., "lr": ...}`. Pass the model if possible, because its
            modules identify the embeddings and the head. Parameters without names are
            accepted with a warning. Each group is split by role; `plan()` shows the
            result, and `roles` overrides it.
        lr: the learning rate for matrices, either a number or a one-element tensor.
        weight_decay: the weight decay for matrices.
        momentum, first_momentum, momentum_warmup: the momentum increases linearly from
            `first_momentum` (or `momentum`, if that is smaller) to `momentum` over the
            first `momentum_warmup` steps. It stays close to its initial value in a run
            of a few hundred steps. This is intentional: a momentum of 0.95 would cost
            extra steps in such a short run. `OneCycleLR` and `CyclicLR` control the
            momentum together with the first beta of AdamW. They leave both unchanged if
            `cycle_momentum=False`.
        beta2: the decay rate of the moving average used to balance rows or columns.
        adamw_lr: the learning rate for all other parameters, as a multiple of `lr`. A
            value of 1/16 worked best for a new head on pretrained layers.
        betas, eps, adamw_weight_decay: the usual hyperparameters of AdamW.
        state: the storage format of the moving averages: "fp32", "bf16" or "int8". All
            arithmetic is done in float32. Averages with fewer than 5 entries per row
            are never stored in int8, and the variances, of which there are few, are
            always stored in float32.
        nonfinite: what to do if a gradient is not finite. "raise" raises an error.
            "skip" skips the step, leaves everything unchanged and increments `skipped`.
        roles: a mapping from name patterns to "matrix", "adamw" or "rows". It takes
            precedence over all other rules.
        rarely_active: True, or the `Groups` of a `DynamicParameterGroup`. The rows of
            embeddings, and of layers whose neurons are mostly in the group "low", are
            then updated without momentum and only in steps in which they have a
            gradient. This saves memory and requires the model as `params`.
        maximize: maximize the objective instead of minimizing it. Weight decay is
            unaffected.
        compiled: compile the matrix update (requires a C++ compiler or a GPU). If
            compilation fails, the optimizer warns once and continues without it.

    Raises:
        TypeError: if `params` is a single tensor or a set, which has no order, or holds
            anything but tensors.
        ValueError: if a number is out of range, if there are no parameters, or if a
            parameter is complex or appears twice. `step` raises it if a gradient is
            sparse or (see `nonfinite`) not finite. `load_state_dict` raises it if the
            state belongs to another optimizer or to parameters with different shapes;
            nothing is changed in that case.

    Parameters without a gradient are left unchanged. A sharded matrix (FSDP2) is
    gathered for its update. The moving averages stay sharded, so each process must save
    and load its own `state_dict`. Do not use `torch.distributed.checkpoint` with this
    optimizer, because it would treat these states as identical on all processes.
    Gradient entries larger than 1e15 in magnitude are clamped, because the squares of
    much larger values overflow in float32. Weights in bfloat16 lose any part of an
    update that is smaller than 1/256 of the weight, so keep them in float32 and use
    autocast instead.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import DeepOpt
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
    >>> optimizer = DeepOpt(net, lr=0.02)
    >>> x, y = torch.rand(64, 4), torch.rand(64, 1)
    >>> for _ in range(3):
    ...     loss = (net(x) - y).square().mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    >>> list(optimizer.plan().columns)
    ['parameter', 'role', 'reason', 'matrices', 'weights', 'state_bytes']
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
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
                f"rarely_active requires the model as params, because only its modules "
                f"show which rows are looked up; got a {type(params).__name__}."
            )
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "first_momentum": first_momentum,
            "momentum_warmup": momentum_warmup,
            "beta2": beta2,
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "adamw_weight_decay": adamw_weight_decay,
            "state": state,
            "nonfinite": nonfinite,
            "roles": dict(roles or {}),
            "maximize": maximize,
            "compiled": compiled,
            "step": 0,
            "skipped": 0,
        }
        super().__init__(listed(params, rarely_active), defaults)
        if not self.param_groups:
            raise ValueError("params must hold at least one parameter; got none.")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group, split by role; an empty group adds nothing.

        The parameters must be named if those in the existing groups are. If the group
        is rejected, the optimizer is left unchanged.
        """
        param_group = with_list(param_group)
        roles = param_group.get("roles", self.defaults["roles"])
        before = len(self.param_groups)
        seen = {p for group in self.param_groups for p in group["params"]}
        if "nonfinite" in param_group:
            raise ValueError(
                "nonfinite must be set for the whole optimizer; got it in a group."
            )
        check_options(self.defaults | param_group)
        try:
            for part in divide(param_group, roles, seen):
                options = self.defaults | part
                ratio = 1.0 if part["role"] == "matrix" else options["adamw_lr"]
                # a new tensor if lr is one: a scheduler fills it in place, and groups
                # with another ratio must not share it
                part["lr"] = options["lr"] * ratio
                super().add_param_group(part)
        except Exception:  # PyTorch's own checks see one part at a time
            del self.param_groups[before:]
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # the state may predate this option
            group.setdefault("maximize", self.defaults.get("maximize", False))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters with a gradient; return the loss from `closure`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # first, because a skipped step must leave weights and averages as they are
        if not self._usable():
            return loss
        for group in self.param_groups:
            group["step"] += 1
            pairs = zip(group["params"], group["shapes"], strict=True)
            # what has no gradient keeps its weight and its averages
            active = [(p, shape) for p, shape in pairs if p.grad is not None]
            RULES[group["role"]](group, active, self.state)
        return loss

    @property
    def skipped(self) -> int:
        """The number of steps skipped because a gradient was not finite."""
        return self.param_groups[0]["skipped"]

    def state_bytes(self) -> int:
        """Return the size in bytes of all averages stored by this process."""
        return sum(self._bytes(p) for g in self.param_groups for p in g["params"])

    def plan(self) -> pd.DataFrame:
        """Return a table of parameters with their roles, matrix shapes and sizes."""
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
        """Restore a saved state bit for bit, whatever the dtype of the parameters."""
        check_saved(self.param_groups, state_dict)
        saved = state_dict["param_groups"]
        super().load_state_dict(state_dict)
        # torch casts every average to the dtype of its parameter, so restore it here
        for old, group in zip(saved, self.param_groups, strict=True):
            for key, p in zip(old["params"], group["params"], strict=True):
                for name, value in state_dict["state"].get(key, {}).items():
                    if isinstance(value, Tensor):
                        device = local(p).device
                        self.state[p][name] = value.to(device, copy=True)

    def _usable(self) -> bool:
        """Return whether all gradients are finite, and clamp very large entries.

        If a gradient is not finite, raise an error or count a skipped step, depending
        on `nonfinite`.
        """
        # 1. collect the local part of each gradient, which must be dense
        named = [
            (name, local(p.grad))
            for group in self.param_groups
            for name, p in zip(names_of(group), group["params"], strict=True)
            if p.grad is not None
        ]
        for name, gradient in named:
            if gradient.is_sparse:
                raise ValueError(
                    f"gradients must be dense; the gradient of {name} is sparse. "
                    f"Create the embedding with sparse=False."
                )
        named = [(name, gradient) for name, gradient in named if gradient.numel()]
        # 2. check the norms: they reveal NaN and huge entries at less cost than maxima
        gradients = [gradient for _, gradient in named]
        finite = not gradients or _all_below(HUGE, torch._foreach_norm(gradients))
        largest: Sequence[Tensor] = ()  # stays empty unless an entry is huge
        if not finite:
            largest = torch._foreach_norm(gradients, math.inf)
            finite = _all_below(math.inf, largest)
        # 3. clamp, raise or skip; all processes must do the same
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
    """Check whether the magnitude of every scalar is below `limit`.

    The scalars are stacked by device, so there is only one check per device.
    """
    by_device = defaultdict(list)
    for x in numbers:
        by_device[x.device].append(x)
    joined = [torch.stack(scalars).float() for scalars in by_device.values()]
    return all(bool((x.abs() < limit).all()) for x in joined)
