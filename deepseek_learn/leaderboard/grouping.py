"""The track of grouping criteria: KL to the full model's predictions, at equal bytes.

The model is the zoo's `fashion_net`. Each problem has its own calibration images and
its own test images. The entry sees the layers with their statistics, without a name and
with their rows in a random order, and never an image. It scores the rows, as a
criterion of `dpg.grouping` does, or it allocates the bits itself. The scorer spends the
bits, rounds the weights with GPTQ and measures the KL.

Lesson: `notebooks/innovation/01_grouping_strategies.ipynb`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..dpg import Allocation, Calibration, Layer, Statistics
from ..dpg.codes import BITS
from ..dpg.criteria import grouping
from .source import EntryError
from .track import EntryServer, RaceResult, Start, Track, registered_name

CRITERION = "the entry of the leaderboard"


@dataclass(frozen=True)
class GroupingProblem:
    """A calibration sample, a test sample, and the full model's predictions on it.

    Attributes:
        layers: the layers as the entry sees them.
        orders: the order of the rows of each layer in `layers`.
        base: the same number of bits for each row; its size is what is permitted.
        log_p: the full model's log-probabilities, of shape `[B, classes]`.
    """

    model: nn.Module
    calibration: Calibration
    layers: list[Layer]
    orders: list[Tensor]
    base: Allocation
    images: Tensor
    log_p: Tensor


@dataclass(frozen=True)
class GroupingTrack(Track):
    """Rows of weights that deserve more bits than others.

    Args:
        bits: the average number of bits per weight.
        calibration, images: how many training and test images a problem has.
    """

    bits: int = 3
    calibration: int = 128
    images: int = 500

    name = "grouping"
    reference = "uniform"
    better = "lower"

    def problem(self, seed: int) -> GroupingProblem:
        from .. import dpg

        model, splits = full_model()
        generator = torch.Generator().manual_seed(seed)
        inputs = _draw(splits.train, self.calibration, generator)
        images = _draw(splits.test, self.images, generator)
        calibration = dpg.calibrate(model, inputs.split(64), seed=seed % 2**31)
        layers = _layers(model, calibration, self.bits)
        orders = [
            torch.randperm(len(layer.weight), generator=generator) for layer in layers
        ]
        base = dpg.uniform(model, self.bits)
        log_p = _log_p(model, images)
        return GroupingProblem(model, calibration, layers, orders, base, images, log_p)

    def measure(
        self,
        problem: GroupingProblem,
        start: Start,
        settings: Mapping[str, Any],
        reference: RaceResult | None,
    ) -> RaceResult:
        from .. import dpg

        shown = [
            _shuffled(layer, order)
            for layer, order in zip(problem.layers, problem.orders, strict=True)
        ]
        with start() as process:
            kind, answers = _checked(process.ask("judge", shown, self.bits), shown)
        by_layer = _in_order(problem, answers)
        if kind == "bits":
            allocation = _allocation(problem.base, by_layer)
        else:
            allocation = self._allocate(problem, by_layer)
        _check_bytes(allocation, problem.base)
        small = dpg.simulate(problem.model, allocation, problem.calibration)
        return RaceResult(_kl(problem.log_p, _log_p(small, problem.images)))

    def _allocate(
        self, problem: GroupingProblem, scores: dict[str, Tensor]
    ) -> Allocation:
        """Spend the bits by the entry's scores, which are checked on the way."""
        from .. import dpg

        with registered(lambda layer: scores[layer.name]):
            try:
                return dpg.allocate(
                    problem.model, problem.calibration, self.bits, CRITERION
                )
            except ValueError as error:
                raise EntryError(str(error)) from None

    def server(self) -> EntryServer:
        return GroupingServer()


class GroupingServer(EntryServer):
    """Score rows with the criterion that the entry registered, or let it allocate."""

    def __init__(self) -> None:
        self.before = {*grouping}

    def take(self, module: ModuleType) -> None:
        self.allocate = getattr(module, "allocate", None)
        if self.allocate is None:
            self.criterion = grouping[registered_name(module, grouping, self.before)]

    def judge(self, layers: list[dict[str, Any]], bits: int) -> tuple[str, list]:
        """Return "scores" or "bits", and a tensor for each layer."""
        ours = [_layer(layer) for layer in layers]
        if self.allocate is not None:
            return "bits", [*self.allocate(ours, bits)]
        return "scores", [self.criterion(layer) for layer in ours]


@cache
def full_model() -> tuple[nn.Module, Any]:
    """Return the model, with batch norms folded, and its dataset."""
    from .. import attention, data, zoo

    model = attention.fold(zoo.load("fashion_net")).requires_grad_(False)
    return model, data.fashion_mnist()


@contextmanager
def registered(criterion: Callable[[Layer], Tensor]) -> Iterator[None]:
    """Register a criterion under the name `CRITERION` inside the block."""
    grouping.register(CRITERION)(criterion)
    try:
        yield
    finally:
        grouping.unregister(CRITERION)


def _draw(dataset: Any, count: int, generator: torch.Generator) -> Tensor:
    chosen = torch.randperm(len(dataset), generator=generator)[:count]
    return dataset.batch(chosen)[0]


def _layers(model: nn.Module, calibration: Calibration, bits: int) -> list[Layer]:
    """Return what `dpg.allocate` gives to a criterion."""
    from .. import dpg

    layers: list[Layer] = []

    def note(layer: Layer) -> Tensor:
        layers.append(layer)
        return torch.ones(len(layer.weight))

    with registered(note):
        dpg.allocate(model, calibration, bits, CRITERION)
    return layers


def _shuffled(layer: Layer, order: Tensor) -> dict[str, Any]:
    statistics = layer.statistics
    return {
        "weight": layer.weight[order],  # [N, K]
        "second_moment": statistics.second_moment,  # [K, K]
        "gradient": statistics.gradient[order],  # [N]
        "frequency": statistics.frequency[order],  # [N]
        "levels": list(layer.levels),
        "group_size": layer.group_size,
    }


def _layer(shown: dict[str, Any]) -> Layer:
    fields = (shown[name] for name in ("second_moment", "gradient", "frequency"))
    levels, size = tuple(shown["levels"]), shown["group_size"]
    return Layer("layer", shown["weight"], Statistics(*fields), levels, size)


def _checked(answer: Any, shown: list[dict[str, Any]]) -> tuple[str, list[Tensor]]:
    """Refuse an answer that is not one tensor for each layer."""
    match answer:
        case [("scores" | "bits") as kind, list(answers)]:
            pass
        case _:
            raise EntryError("the entry's process did not follow the protocol.")
    if len(answers) != len(shown) or not all(isinstance(a, Tensor) for a in answers):
        raise EntryError(f"it must return {len(shown)} tensors, one for each layer.")
    for tensor, layer in zip(answers, shown, strict=True):
        rows, levels = len(layer["weight"]), len(layer["levels"])
        shapes = [[rows], [levels, rows]] if kind == "scores" else [[rows]]
        if list(tensor.shape) not in shapes:
            raise EntryError(
                f"it must return a tensor {' or '.join(map(str, shapes))} for a layer "
                f"of {rows} rows; got {list(tensor.shape)}."
            )
        if kind == "scores" and not (torch.isfinite(tensor) & (tensor >= 0)).all():
            raise EntryError(
                "it must return finite numbers of at least 0; got NaN, infinity or a "
                "negative number."
            )
    return kind, answers


def _in_order(problem: GroupingProblem, answers: list[Tensor]) -> dict[str, Tensor]:
    """Return the answers by layer, with the rows in the model's order."""
    by_layer = {}
    for layer, order, answer in zip(
        problem.layers, problem.orders, answers, strict=True
    ):
        by_layer[layer.name] = answer[..., order.argsort()]
    return by_layer


def _allocation(base: Allocation, bits: dict[str, Tensor]) -> Allocation:
    widths = {int(b) for each in bits.values() for b in each.unique()}
    if not widths <= set(BITS):
        raise EntryError(f"bits must be among {BITS}; got {sorted(widths)}.")
    return replace(base, bits={name: each.long() for name, each in bits.items()})


def _check_bytes(allocation: Allocation, base: Allocation) -> None:
    permitted = base.stored_bytes
    if allocation.stored_bytes > permitted:
        raise EntryError(
            f"it takes more bytes than permitted: {allocation.stored_bytes} of "
            f"{permitted}."
        )


@torch.inference_mode()
def _log_p(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).double().log_softmax(1)  # [B, classes]


def _kl(log_p: Tensor, log_q: Tensor) -> float:
    return (log_p.exp() * (log_p - log_q)).sum(1).mean().item()


TRACK = GroupingTrack()
