"""Every pass starts alike, and afterwards model and inputs are as they were before."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

Saved = list[tuple[Tensor, Tensor]]  # a tensor, and a copy of its values


class Start:
    """What a pass starts from: no gradients, the inputs' values, the random numbers."""

    def __init__(self, model: nn.Module, given: list[Tensor], device: torch.device):
        self._device, self._random = device, _random_state(device)
        self.leaves = [*model.parameters(), *(t for t in given if t.is_leaf)]
        self.inputs: Saved = [(t, t.detach().clone()) for t in given]

    def again(self) -> None:
        """Go back to it."""
        for leaf in self.leaves:
            leaf.grad = None
        _put_back(self.inputs)
        _set_random_state(self._device, self._random)


@contextmanager
def as_it_was(
    model: nn.Module, given: list[Tensor], device: torch.device, train: bool
) -> Iterator[Start]:
    """Put the model in the mode of the pass; at the end all is as it was before.

    Modes, gradients, buffers (also those that the model replaces), the values of the
    inputs `given`, and the random numbers. A module that was told to evaluate in a model
    that trains keeps doing so.
    """
    start = Start(model, given, device)
    modes = {module: module.training for module in model.modules()}
    gradients = [(leaf, leaf.grad) for leaf in start.leaves]
    places = [(m, n, b) for m in modes for n, b in m._buffers.items() if b is not None]
    buffers = [(buffer, buffer.clone()) for *_, buffer in places]
    try:
        if train != model.training:
            model.train(train)
        elif not train:
            model.eval()
        yield start
    finally:
        start.again()
        for module, mode in modes.items():
            if module.training != mode:
                module.training = mode
        for leaf, gradient in gradients:
            leaf.grad = gradient
        for module, name, buffer in places:
            module._buffers[name] = buffer
        _put_back(buffers)


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Events and waiting belong to the model's GPU, not to the current one."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        yield


def _put_back(values: Saved) -> None:
    """Where the values are still those that were saved, nothing is written."""
    with torch.inference_mode():
        for tensor, saved in values:
            plain = tensor.layout is torch.strided and not tensor.is_nested
            if plain and not torch.equal(tensor, saved):
                tensor.copy_(saved)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), gpu


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]):
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
