"""A dispatch mode that intercepts every operator, even inside composite operators."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from .costs import has_formula


class EveryOperator(TorchDispatchMode):
    """Calls `run(func, args, kwargs)` in place of each operator.

    `torch.cond`, `while_loop` and similar operators call functions, and the operators
    inside those are intercepted, too. An operator of this kind that has a formula (flex
    attention) is intercepted as a whole.
    """

    supports_higher_order_operators = True

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Call the operator and record it."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator) and not has_formula(func):
            return self._functions_inside(func, args, kwargs)
        # in inference mode composite operators arrive undecomposed
        if torch.is_inference_mode_enabled() and isinstance(func, OpOverload):
            out = self._call_inside(func.decompose, args, kwargs)
            if out is not NotImplemented:
                return out
        return self.run(func, args, kwargs)

    def _functions_inside(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Intercept what the operator's functions call, or else the operator itself."""
        calls: list[Callable] = []

        def wrap(leaf: Any) -> Any:
            if not callable(leaf) or isinstance(leaf, torch.Tensor):
                return leaf

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                calls.append(leaf)
                return self._call_inside(leaf, args, kwargs)

            return wrapper

        leaves, tree = tree_flatten((args, kwargs))
        wrapped = [wrap(leaf) for leaf in leaves]
        if all(one is other for one, other in zip(leaves, wrapped, strict=True)):
            return self.run(func, args, kwargs)
        wrapped_args, wrapped_kwargs = tree_unflatten(wrapped, tree)
        out = func(*wrapped_args, **wrapped_kwargs)
        return out if calls else self.run(func, args, kwargs)

    def _call_inside(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Call the function in this mode, which is off while it handles an operator."""
        TorchDispatchMode.__enter__(self)
        try:
            return function(*args, **kwargs)
        finally:
            TorchDispatchMode.__exit__(self, None, None, None)
