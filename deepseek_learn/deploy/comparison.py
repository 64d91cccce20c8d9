"""Compare the outputs of an exported model with those of the original model."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..errors import DeepSeekLearnError
from .export import plain_form
from .runtimes import Answer, arguments, runner

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4  # default tolerance, for float32


class OutputMismatchError(DeepSeekLearnError):
    """Raised when the outputs of an exported model differ from the original outputs."""


def verify(
    proto: "onnx.ModelProto",
    model: nn.Module,
    inputs: Iterable[Any],
    tolerance: float = TOLERANCE,
) -> float:
    """Compare the outputs of an exported model with those of the original model.

    A compressed model is compared in its plain form, because its kernels also round the
    activations.

    Args:
        proto: the exported model.
        model: the original model.
        inputs: the inputs to compare, each in the form of the `example` of `to_onnx`.
        tolerance: the maximum relative difference.

    Returns:
        The largest value of `max |y - r| / max |r|` over all inputs and outputs.

    Raises:
        OutputMismatchError: if this value exceeds `tolerance`, or if a shape differs.
        ValueError: if an output of the original model contains NaN or infinity.

    >>> import torch
    >>> from deepseek_learn import deploy
    >>> net = torch.nn.Linear(4, 2)
    >>> proto = deploy.to_onnx(net, torch.rand(1, 4))
    >>> deploy.verify(proto, net, [torch.rand(3, 4)]) < 1e-4  # relative difference
    True
    """
    plain = plain_form(model).eval()

    def original(example: Any) -> list[np.ndarray]:
        args, kwargs = arguments(example)
        with torch.inference_mode():
            leaves = tree_leaves(plain(*args, **kwargs))
        # drops None
        return [leaf.numpy(force=True) for leaf in leaves if isinstance(leaf, Tensor)]

    name = type(model).__name__
    return largest_difference(runner(proto), original, inputs, name, tolerance)


def largest_difference(
    exported: Answer,
    original: Answer,
    inputs: Iterable[Any],
    name: str,
    tolerance: float = TOLERANCE,
) -> float:
    """Return the largest relative difference between two functions; see `verify`.

    Args:
        name: the name of the original model, for the messages.
    """
    worst = 0.0
    for number, example in enumerate(inputs):
        references = original(example)
        check_finite(references, name, f"input {number}")
        for index, (y, r) in enumerate(zip(exported(example), references, strict=True)):
            difference = relative_difference(y, r)
            if not difference <= tolerance:
                raise OutputMismatchError(
                    f"the exported {name} gives different outputs: output {index} for "
                    f"input {number} differs by {difference:.2g} of its largest value, "
                    f"but the tolerance is {tolerance:g}."
                )
            worst = max(worst, difference)
    return worst


def check_finite(outputs: Sequence[np.ndarray], name: str, inputs: str) -> None:
    """Check that all outputs are finite: NaN in place of NaN would verify nothing.

    Args:
        name: the model, for the message.
        inputs: what it was run on, for the message.

    Raises:
        ValueError: if an output contains NaN or infinity; the message names it.
    """
    for index, y in enumerate(outputs):
        if not np.isfinite(y).all():
            what = "NaN" if np.isnan(y).any() else "infinity"
            raise ValueError(
                f"output {index} of {name} contains {what} for {inputs}, but only finite "
                f"outputs can be verified."
            )


def relative_difference(answer: np.ndarray, reference: np.ndarray) -> float:
    """Return max |y - r| / max |r| for an output y and a reference r.

    The result is infinite if the shapes differ or if an entry is NaN in only one array.
    """
    if answer.shape != reference.shape:
        return float("inf")
    y, r = answer.astype(np.float64), reference.astype(np.float64)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        error = np.where(same, 0.0, np.abs(y - r)).max(initial=0.0)
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return float("inf") if np.isnan(error) else float(error / max(largest, 1e-12))
