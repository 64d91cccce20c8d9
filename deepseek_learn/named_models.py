"""A model by name, as the command line takes it: `zoo:NAME` or `module:callable`."""

import importlib
import os
import sys
from typing import Any

import torch
from torch import nn

from .errors import DeepSeekLearnError


def model_and_example(name: str, shape: str = "") -> tuple[nn.Module, Any]:
    """The model, and an input for it.

    Args:
        name: `zoo:NAME`, or `module:callable` where the callable gives a model, or a
            model and an example; the module is also looked for in the current folder.
        shape: of the input, such as "1,3,224,224"; needed where no example is given.

    Raises:
        ValueError: for another form of `name` or `shape`, or an example that is missing.
        DeepSeekLearnError: when the module or the callable is not there.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(
            f"the model must be zoo:NAME or module:callable; got {name!r}."
        )
    if module == "zoo":
        from . import zoo

        model, example = zoo.load(attribute), zoo.example(attribute)
    else:
        model, example = _pair(name, _look_up(module, attribute))
    if shape:
        example = torch.rand(_sizes(shape), generator=torch.Generator().manual_seed(0))
    if example is None:
        raise ValueError(
            f"{name} gives a model without an example: add --shape, such as "
            f"--shape 1,3,224,224."
        )
    return model, example


def deployable(name: str, shape: str = "") -> tuple:
    """What a wizard is made of: model, example, calibration batches, metric.

    Args:
        name: `zoo:NAME`; or `module:callable` where the callable gives these four, or
            what `model_and_example` takes: then there is neither calibration nor metric.

    Raises:
        ValueError, DeepSeekLearnError: as `model_and_example`.
    """
    module, _, attribute = name.partition(":")
    if module == "zoo":
        from . import zoo

        model, example = model_and_example(name, shape)
        known = zoo.evaluation(attribute)
        return model, example, known.calibration.split(8), known.metric
    made = _look_up(module, attribute) if module and attribute else None
    made = made() if callable(made) and not isinstance(made, nn.Module) else made
    if isinstance(made, tuple) and len(made) == 4:
        return made
    return *model_and_example(name, shape), None, None


def _pair(name: str, found: Any) -> tuple[nn.Module, Any]:
    """A model, or what gives one, or one with its example."""
    made = found if isinstance(found, nn.Module) or not callable(found) else found()
    if isinstance(made, nn.Module):
        return made, None
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made
    raise ValueError(
        f"{name} must give a torch.nn.Module, or a pair of one and an example; got "
        f"{type(made).__name__}."
    )


def _look_up(module: str, attribute: str):
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DeepSeekLearnError(
            f"{module}:{attribute} is not there: {error}."
        ) from error


def _sizes(shape: str) -> list[int]:
    try:
        sizes = [int(size) for size in shape.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise ValueError(
            f"shape must be whole numbers with commas, such as 1,3,224,224; got {shape!r}."
        )
    return sizes
