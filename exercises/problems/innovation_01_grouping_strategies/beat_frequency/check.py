"""Compare the learner's own criterion with frequency, measured on fresh networks."""

import copy
import math
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from deepseek_learn import dpg
from deepseek_learn.course import expect
from deepseek_learn.course.arguments import copied, same
from deepseek_learn.course.problem import Failed
from deepseek_learn.machine import one_thread
from deepseek_learn.zoo.metrics import divergence

NAME = "beat_frequency: the learner's"  # in the registry during the measurement
TARGET = 0.6  # as a fraction of frequency's KL
BITS = 3.0
NETWORKS = 4
WIDTH, INPUTS, CLASSES = 96, 32, 10


def check(answer, rng) -> None:
    expect.function(answer, "criterion")
    with one_thread():
        pairs = [measure(answer, rng) for _ in range(NETWORKS)]
    # the geometric mean: no single network decides
    learner_kl, frequency = (
        math.exp(sum(map(math.log, kls)) / NETWORKS) for kls in zip(*pairs, strict=True)
    )
    if not learner_kl <= TARGET * frequency:
        share = {"share": learner_kl / frequency, "wanted": TARGET}
        raise Failed("not_better", got=learner_kl, want=frequency, **share)


def measure(answer, rng) -> tuple[float, float]:
    """Return the KL at equal bytes by the learner's criterion and by frequency."""
    network, calibration_inputs, inputs = teacher(rng)
    calibration = dpg.calibrate(network, calibration_inputs.split(64))
    with torch.inference_mode():
        reference = network(inputs)
    kls = []
    for name in (NAME, "frequency"):
        with registered(answer):
            # copies, so that the answer cannot change the network
            allocation = dpg.allocate(
                copy.deepcopy(network), copy.deepcopy(calibration), BITS, name
            )
        rounded = dpg.simulate(network, allocation, calibration)
        with torch.inference_mode():
            kls.append(divergence(rounded(inputs), reference).mean().item())
    return kls[0], kls[1]


def teacher(rng) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a random network whose neurons matter unequally, and inputs for it."""

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    sizes = pairwise((INPUTS, WIDTH, WIDTH, CLASSES))
    layers = [nn.Linear(inputs, outputs) for inputs, outputs in sizes]
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    with torch.no_grad():
        for layer in layers:
            columns = layer.in_features
            scale = 1.4 / math.sqrt(columns)
            layer.weight.copy_(scale * draw(layer.out_features, columns))
            layer.bias.copy_(0.5 * draw(layer.out_features))
        for reader in layers[1:]:  # how much each neuron's output is used
            strength = draw(WIDTH).exp()
            reader.weight.mul_(strength / strength.square().mean().sqrt())
        layers[-1].weight.mul_(2.0)
    inputs = draw(1024, INPUTS)
    return network, inputs[:256], inputs[256:]


@contextmanager
def registered(answer):
    """Register the answer as NAME in `dpg.grouping`, with its values checked."""

    def criterion(layer: dpg.Layer) -> Tensor:
        before = copied(tensors(layer))
        got = expect.call(answer, layer)
        for name, value in tensors(layer).items():
            if not same(value, before[name]):
                raise Failed("expect.in_place", argument=f"layer.{name}")
        return check_values(got, layer)

    dpg.grouping.register(NAME)(criterion)
    try:
        yield
    finally:
        dpg.grouping.unregister(NAME)


def tensors(layer: dpg.Layer) -> dict[str, Tensor]:
    """Return the tensors that the answer may read but not change."""
    statistics = {
        f"statistics.{name}": value for name, value in vars(layer.statistics).items()
    }
    values = {"weight": layer.weight, "errors": layer.errors} | statistics
    return {name: each for name, each in values.items() if isinstance(each, Tensor)}


def check_values(got, layer: dpg.Layer) -> Tensor:
    expect.tensor(got, "criterion(layer)")
    values = torch.from_numpy(expect.numbers(got, "criterion(layer)"))
    rows, levels = len(layer.weight), len(layer.levels)
    shape = list(values.shape)
    if shape not in ([rows], [levels, rows]):
        raise Failed("shape", got=shape, rows=rows, levels=levels)
    if not (torch.isfinite(values) & (values >= 0)).all():
        raise Failed("values", layer=layer.name)
    return values
