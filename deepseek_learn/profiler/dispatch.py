"""A dispatch mode that intercepts every operator, even inside composite operators."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from .costs import has_formula


class EveryOperator(TorchDispatchMode):
    """A dispatch mode that calls `run(func, args, kwargs)` in place of each operator.

    Higher-order operators such as `torch.cond` and `while_loop` call functions, and the
    operators inside these functions are intercepted as well. The exception is a
    higher-order operator with a cost formula, such as flex attention, which is
    intercepted as a whole.
    """

    supports_higher_order_operators = True

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Call the operator, record the call, and return the result."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator) and not has_formula(func):
            return self._functions_inside(func, args, kwargs)
        # in inference mode, composite operators have not been decomposed yet
        if torch.is_inference_mode_enabled() and isinstance(func, OpOverload):
            out = self._call_inside(func.decompose, args, kwargs)
            if out is not NotImplemented:
                return out
        return self.run(func, args, kwargs)

    def _functions_inside(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Intercept the operators inside the functions of a higher-order operator.

        If none of its functions is called, intercept the higher-order operator itself.
        """
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
        """Call the function with this mode enabled.

        PyTorch disables a dispatch mode while the mode is handling an operator.
        """
        TorchDispatchMode.__enter__(self)
        try:
            return function(*args, **kwargs)
        finally:
            TorchDispatchMode.__exit__(self, None, None, None)
