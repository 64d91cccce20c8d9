"""A dispatch mode that meets every operator, those inside composite ones included."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from .costs import has_formula


class EveryOperator(TorchDispatchMode):
    """Calls `run(func, args, kwargs)` for each operator in place of the operator.

    `torch.cond`, `while_loop` and their kind are operators that call functions: what those
    call is met like all else. One with a formula (flex attention) is met whole.
    """

    supports_higher_order_operators = True

    def run(self, func, args: tuple, kwargs: dict) -> Any:
        """Call the operator, and take note of it."""
        raise NotImplementedError

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator) and not has_formula(func):
            return self._functions_inside(func, args, kwargs)
        # in inference mode composite operators arrive whole
        if torch.is_inference_mode_enabled() and isinstance(func, OpOverload):
            out = self._again(func.decompose, args, kwargs)
            if out is not NotImplemented:
                return out
        return self.run(func, args, kwargs)

    def _functions_inside(self, func, args, kwargs):
        """Meet what the operator's functions call; the operator itself if none is."""
        entered = []

        def meet(leaf):
            if not callable(leaf) or isinstance(leaf, torch.Tensor):
                return leaf

            def called(*args, **kwargs):
                entered.append(leaf)
                return self._again(leaf, args, kwargs)

            return called

        leaves, tree = tree_flatten((args, kwargs))
        seen = [meet(leaf) for leaf in leaves]
        if all(one is other for one, other in zip(leaves, seen, strict=True)):
            return self.run(func, args, kwargs)
        args_seen, kwargs_seen = tree_unflatten(seen, tree)
        out = func(*args_seen, **kwargs_seen)
        return out if entered else self.run(func, args, kwargs)

    def _again(self, function: Callable, args: tuple, kwargs: dict):
        """In this mode, which is off while it handles an operator."""
        TorchDispatchMode.__enter__(self)
        try:
            return function(*args, **kwargs)
        finally:
            TorchDispatchMode.__exit__(self, None, None, None)
