"""A model by name, as the command line takes it: `zoo:NAME` or `module:callable`."""

import importlib
import math
import os
import sys
from typing import Any

import torch
from torch import nn

from ..errors import DeepSeekLearnError


def model_and_example(name: str, shape: str = "") -> tuple[nn.Module, Any]:
    """The model, and an input for it.

    Args:
        name: `zoo:NAME`, or `module:callable` where the callable gives a model, or a
            model and an example; the module is also looked for in the current folder.
        shape: of the input, such as "1,3,224,224"; needed where no example is given.
            Where one of whole numbers is (tokens), they are drawn from its range.

    Raises:
        ValueError: for another form of `name` or `shape`, or an example that is missing.
        DeepSeekLearnError: when the module or the callable is not there.
    """
    return _named(name, shape)[:2]


def deployable(name: str, shape: str = "") -> tuple[nn.Module | str, Any, Any, Any]:
    """What a wizard is made of: model, example, calibration batches, metric.

    Args:
        name: as for `model_and_example`; a callable may also give all four. Where it
            does not, the last two are None. Or an .onnx file, with the `shape` of its
            one input.

    Raises:
        ValueError, DeepSeekLearnError: as `model_and_example`, and for a model of the zoo
            that no target takes, or a model that does not run on its example.
    """
    if name.endswith(".onnx"):
        return name, _example_for_file(name, shape), None, None
    _refuse_language_model(name)
    model, example, calibration, metric = _named(name, shape)
    _run_once(name, model, example)
    if name.startswith("zoo:"):
        from .. import zoo

        known = zoo.evaluation(name.removeprefix("zoo:"))
        calibration, metric = known.calibration.split(8), known.metric
    return model, example, calibration, metric


def _example_for_file(path: str, shape: str) -> Any:
    from ..deploy.source import example_for

    if not shape:
        raise ValueError(
            f"{path} needs an input: add --shape, such as --shape 1,3,8,8."
        )
    return example_for(path, _sizes(shape))


def _refuse_language_model(name: str) -> None:
    from .. import zoo

    kind, _, known = name.partition(":")
    if kind == "zoo" and known in zoo.list("text"):
        raise DeepSeekLearnError(
            f"{name} is a language model: it writes token by token and keeps a cache, "
            f"which no target takes; deepseek-learn chat {name} runs it."
        )


def _run_once(name: str, model: nn.Module, example: Any) -> None:
    """Refuse in one sentence what the export would raise from within the model."""
    from ..deploy.runtimes import arguments

    args, kwargs = arguments(example)
    before = model.training
    try:
        with torch.inference_mode():
            model.eval()(*args, **kwargs)
    except Exception as error:
        said = str(error).strip().split("\n")[0]
        raise DeepSeekLearnError(f"{name} does not run on its input: {said}") from error
    finally:
        model.train(before)


def _named(name: str, shape: str) -> tuple[nn.Module, Any, Any, Any]:
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(
            f"the model must be zoo:NAME or module:callable; got {name!r}."
        )
    if module == "zoo":
        from .. import zoo

        model, example, *more = zoo.load(attribute), zoo.example(attribute), None, None
    else:
        model, example, *more = _parts(name, _look_up(module, attribute))
    if shape:
        example = _random(shape, example)
    if example is None:
        raise ValueError(
            f"{name} gives a model without an example: add --shape, such as "
            f"--shape 1,3,224,224."
        )
    return model, example, *more


def _parts(name: str, found: Any) -> tuple[nn.Module, Any, Any, Any]:
    """A model, or what gives one, alone or with what belongs to it."""
    made = found if isinstance(found, nn.Module) or not callable(found) else None
    try:
        made = found() if made is None else made
    except Exception as error:  # whatever the user's own code raises
        raise DeepSeekLearnError(f"{name} raised {_said(error)}") from error
    parts = made if isinstance(made, tuple) else (made,)
    if len(parts) in (1, 2, 4) and isinstance(parts[0], nn.Module):
        return *parts, *(None,) * (4 - len(parts))
    raise ValueError(
        f"{name} must give a torch.nn.Module, or four with calibration batches and a "
        f"metric, or a pair of one and an example; got {type(made).__name__}."
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
    except Exception as error:  # a module that cannot be imported, or no module's name
        raise DeepSeekLearnError(f"importing {module} raised {_said(error)}") from error


def _said(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["nothing more"])[0]
    return f"{type(error).__name__}: {first}"


def _random(shape: str, like: Any) -> torch.Tensor:
    sizes = _sizes(shape)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 4 * math.prod(sizes) > memory:
        raise ValueError(
            f"shape must fit into this computer's memory of {memory / 2**30:.0f} GiB; "
            f"got {shape!r}."
        )
    generator = torch.Generator().manual_seed(0)
    if isinstance(like, torch.Tensor) and like.dtype in (torch.int32, torch.int64):
        highest = int(like.max()) + 1
        return torch.randint(highest, sizes, generator=generator, dtype=like.dtype)
    return torch.rand(sizes, generator=generator)


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
