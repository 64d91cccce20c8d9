"""What a compressed model refuses, because its weights are packed integers.

It cannot be trained, its weights cannot be edited in place, and formats that store float
tensors cannot hold it. Each would otherwise be lost without a word.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DeepSeekLearnError

EXPORTS = ("save_pretrained", "push_to_hub")  # methods of Hugging Face's models
# `x.add_(1)`, `x += 1`, `x[0] = 1`, but not `x.__init__` or `x.requires_grad_()`
IN_PLACE = re.compile(
    r"(?!requires_grad_).*[^_]_|__setitem__"
    r"|__i(add|sub|mul|matmul|truediv|floordiv|mod|pow|and|or|xor|lshift|rshift)__"
)


class FrozenModelError(DeepSeekLearnError):
    """Raised when a compressed model is trained, edited or exported as a float model."""


class FrozenWeight(Tensor):
    """A weight that was unpacked to be read.

    An edit would be lost, because every access to `layer.weight` unpacks it anew. It is
    therefore refused, for views as well. Everything else returns plain tensors.
    """

    @classmethod
    def __torch_function__(
        cls,
        func: Callable,
        types: Sequence[type],
        args: Sequence = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(target, cls) for target in _targets(func, args, kwargs)):
            refuse_edit()
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            weights = [x for x in (*args, *kwargs.values()) if isinstance(x, cls)]
            return _guarded(result, {x.untyped_storage()._cdata for x in weights})

    def __deepcopy__(self, memo: dict) -> Tensor:
        return self.clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.clone().__reduce_ex__(protocol)


def _targets(func: Callable, args: Sequence, kwargs: Mapping[str, Any]) -> list:
    """Return the tensors that a call of `func` writes to."""
    targets = [kwargs.get("out")]
    name = getattr(func, "__name__", "")
    owner = getattr(getattr(func, "__self__", None), "__name__", "")
    is_edit = IN_PLACE.fullmatch(name) or (name, owner) == ("__set__", "data")
    if is_edit or kwargs.get("inplace"):
        targets += [args[0] if args else next(iter(kwargs.values()), None)]
    lists = [x if isinstance(x, tuple | list) else [x] for x in targets]
    return [x for group in lists for x in group]


def _guarded(result: Any, storages: set[int]) -> Any:
    """Protect the views among the results of a function."""
    if isinstance(result, tuple | list) and type(result) in (tuple, list):
        return type(result)(_guarded(x, storages) for x in result)
    if isinstance(result, np.ndarray):
        result.flags.writeable = False
    if type(result) is Tensor and result.untyped_storage()._cdata in storages:
        return result.as_subclass(FrozenWeight)
    return result


def refuse_edit() -> NoReturn:
    raise FrozenModelError(
        "the weight of a DPG-compressed layer cannot be edited, because it is packed "
        "and unpacked anew on every access: edit the float model (merge its adapters, "
        "for example) and compress it again, or edit a copy, weight.clone()."
    )


def refuse_training(mode: bool) -> None:
    """Raise FrozenModelError if `mode` is True."""
    if mode:
        raise FrozenModelError(
            "a DPG-compressed model cannot train: its weights are packed integers. "
            "Train the original, then compress it again."
        )


def _train(model: nn.Module, mode: bool = True) -> nn.Module:
    """The `train` method of a compressed model.

    It raises FrozenModelError before it changes the mode of any layer.
    """
    refuse_training(mode)
    return type(model).train(model, mode)


def _export(method: str, *args: object, **kwargs: object) -> NoReturn:
    """A method of a compressed model that would write files nobody can read."""
    raise FrozenModelError(
        f"{method} cannot store a DPG-compressed model: from_pretrained would replace "
        f"the packed weights by random ones. Use deepseek_learn.dpg.save and dpg.load "
        f"instead, or deepseek_learn.dpg.hf.prepare(model) first."
    )


def freeze(model: nn.Module, packed: type[nn.Module]) -> nn.Module:
    """Make the methods of a compressed model refuse what its `packed` layers cannot do."""
    for module in model.modules():
        methods = [name for name in EXPORTS if hasattr(module, name)]
        if methods and any(isinstance(part, packed) for part in module.modules()):
            for name in methods:
                setattr(module, name, partial(_export, name))
    return stop_training(model)


def stop_training(model: nn.Module) -> nn.Module:
    """Make a compressed model refuse to train, and set it to evaluate."""
    # of this model only
    model.train = partial(_train, model)  # type: ignore[method-assign]
    return model.requires_grad_(False).eval()


def permit_exports(model: nn.Module) -> None:
    """Undo that `freeze` refuses to export: whatever stores the model knows how."""
    for module in model.modules():
        for name in EXPORTS:
            vars(module).pop(name, None)
