"""Load models given on the command line as `zoo:NAME` or `module:callable`."""

import importlib
import math
import os
import sys
from typing import Any

import torch
from torch import nn

from ..errors import DeepSeekLearnError


def model_and_example(name: str, shape: str = "") -> tuple[nn.Module, Any]:
    """Load a model and an example input.

    Args:
        name: `zoo:NAME` or `module:callable`. The callable must return a model, or a
            model and an example input. The module may be located in the current folder.
        shape: the shape of a random input, such as "1,3,224,224". It is required if
            there is no example. If the example holds integers (tokens), the random
            input is drawn from the same range.

    Raises:
        ValueError: if `name` or `shape` is invalid, or if there is no example input.
        DeepSeekLearnError: if the module or the callable does not exist.
    """
    return _resolve(name, shape)[:2]


def deployable(name: str, shape: str = "") -> tuple[nn.Module | str, Any, Any, Any]:
    """Return the arguments for a `DeploymentWizard`.

    The arguments are the model, an example input, calibration batches and a metric.

    Args:
        name: as in `model_and_example`, or the path of an .onnx file. A callable may
            also return all four arguments. If it returns fewer, the last two are None.
        shape: as in `model_and_example`. For an .onnx file, this is the shape of its
            only input.

    Raises:
        ValueError, DeepSeekLearnError: as in `model_and_example`. Models that no target
            supports and models that fail on their example are also rejected.
    """
    if name.endswith(".onnx"):
        return name, _example_for_file(name, shape), None, None
    _refuse_language_model(name)
    model, example, calibration, metric = _resolve(name, shape)
    _run_once(name, model, example)
    if name.startswith("zoo:"):
        from .. import zoo

        evaluation = zoo.evaluation(name.removeprefix("zoo:"))
        calibration, metric = evaluation.calibration.split(8), evaluation.metric
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

    source, _, model = name.partition(":")
    if source == "zoo" and model in zoo.list("text"):
        raise DeepSeekLearnError(
            f"{name} is a language model, which generates one token at a time and "
            f"keeps a cache. No target supports this; use deepseek-learn chat {name} "
            f"instead."
        )


def _run_once(name: str, model: nn.Module, example: Any) -> None:
    """Raise a one-sentence error if the model fails on its example.

    Without this check, the export would fail later for the same reason.
    """
    from ..deploy.runtimes import arguments

    args, kwargs = arguments(example)
    was_training = model.training
    try:
        with torch.inference_mode():
            model.eval()(*args, **kwargs)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise DeepSeekLearnError(
            f"{name} does not run on its input: {first}"
        ) from error
    finally:
        model.train(was_training)


Parts = tuple[nn.Module, Any, Any, Any]  # model, example, calibration, metric


def _resolve(name: str, shape: str) -> Parts:
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(
            f"the model must be zoo:NAME or module:callable; got {name!r}."
        )
    if module == "zoo":
        from .. import zoo

        model, example = zoo.load(attribute), zoo.example(attribute)
        calibration = metric = None
    else:
        model, example, calibration, metric = _parts(name, _look_up(module, attribute))
    if shape:
        example = _random(shape, example)
    if example is None:
        raise ValueError(
            f"{name} returns a model without an example: add --shape, such as "
            f"--shape 1,3,224,224."
        )
    return model, example, calibration, metric


def _parts(name: str, target: Any) -> Parts:
    """Return the model, example, calibration batches and metric given by `target`.

    If `target` is a function, it is called first.
    """
    try:
        is_factory = callable(target) and not isinstance(target, nn.Module)
        result = target() if is_factory else target
    except Exception as error:  # the user's code may raise any error
        raise DeepSeekLearnError(f"{name} raised {_summary(error)}") from error
    parts = result if isinstance(result, tuple) else (result,)
    if len(parts) in (1, 2, 4) and isinstance(parts[0], nn.Module):
        model, example, calibration, metric = (*parts, None, None, None)[:4]
        return model, example, calibration, metric
    raise ValueError(
        f"{name} must return a torch.nn.Module, a tuple of a module and an example, or "
        f"a tuple of a module, an example, calibration batches and a metric; got "
        f"{type(result).__name__}."
    )


def _look_up(module: str, attribute: str) -> Any:
    cwd = os.getcwd()
    if cwd not in sys.path:
        sys.path.insert(0, cwd)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DeepSeekLearnError(
            f"{module}:{attribute} does not exist: {error}."
        ) from error
    except Exception as error:  # the import may raise any error
        raise DeepSeekLearnError(
            f"importing {module} raised {_summary(error)}"
        ) from error


def _summary(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return f"{type(error).__name__}: {first}"


def _random(shape: str, like: Any) -> torch.Tensor:
    sizes = _sizes(shape)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 4 * math.prod(sizes) > memory:
        raise ValueError(
            f"shape must fit in this computer's memory of {memory / 2**30:.0f} GiB; "
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
            f"shape must be comma-separated integers, such as 1,3,224,224; got {shape!r}."
        )
    return sizes
