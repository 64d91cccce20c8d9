"""Count a convolution's FLOPs from its shapes: strides, groups, transposed or not."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "conv_flops")
    kinds: set[tuple] = set()
    while len(kinds) < 8:  # all combinations of transposed, grouped and strided
        x, weight, stride, padding, transposed, groups = draw(rng)
        kinds.add((transposed, groups > 1, stride > 1))
        check_case(answer, x, weight, groups, stride, padding, transposed)
    for transposed in (False, True):
        for case in edges(rng, transposed):
            check_case(answer, *case, transposed)
    check_case(answer, (2, 4, 7, 9), (6, 4, 3, 3), 1)  # the defaults of the task


def edges(rng, transposed: bool) -> list[tuple]:
    """Return (input, weight, groups, stride, padding) that reveal off-by-one errors."""
    n, c = int(rng.integers(4, 9)), 2 * int(rng.integers(2, 5))
    rows = (c, c + 1) if transposed else (c + 1, c)
    return [
        ((3, c, 2 * n, 2 * n + 1), (*rows, 3, 3), 1, 2, 0),  # a remainder
        ((1, c, n, n), (*rows, n, n), 1, 1, 0),  # a single position
        ((3, c, n, n + 1), (*rows, 1, 1), 1, 2, 0),
        ((3, c, n, n + 1), (*rows, 2, 2), 1, 1, 2),
        ((3, c, 2 * n, n), (c, 1, 3, 3), c, 2, 1),  # depthwise
        ((1, 1, n, n), (1, 1, 3, 3), 1, 1, 1),
    ]


def check_case(answer, x, weight, groups, *options) -> None:
    """Call the answer by position, as it may have names of its own."""
    sizes: dict[str, Any] = {"stride": 1, "padding": 0, "transposed": False}
    sizes |= dict(zip(sizes, options, strict=False))
    y = shapes(x, weight, groups=groups, **sizes)
    call = f"conv_flops({', '.join(map(str, [x, weight, *options]))})"
    got = expect.call(answer, x, weight, *options)
    compare(got, call, x, weight, y, sizes["transposed"], groups)


def draw(rng) -> tuple:
    """Draw the shapes of the input and weight, stride, padding, transposed, groups."""
    batch, size, kernel = (int(rng.integers(*r)) for r in ((3, 6), (7, 20), (3, 6)))
    c_in, c_out = (int(rng.choice([4, 6, 8])) for _ in range(2))
    transposed, groups = bool(rng.integers(2)), int(rng.choice([1, 2]))
    stride, padding = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    rows = (c_in, c_out // groups) if transposed else (c_out, c_in // groups)
    x = (batch, c_in, size, size + int(rng.integers(0, 4)))
    return x, (*rows, kernel, kernel), stride, padding, transposed, groups


def shapes(x, weight, stride, padding, transposed, groups) -> tuple:
    """Get the output's shape from PyTorch's "meta" device, which computes nothing."""
    convolve = F.conv_transpose2d if transposed else F.conv2d
    inputs, kernel = (torch.empty(size, device="meta") for size in (x, weight))
    y = convolve(inputs, kernel, stride=stride, padding=padding, groups=groups)
    return tuple(y.shape)


def compare(got, call: str, x, weight, y, transposed: bool, groups: int) -> None:
    def flops(positions) -> int:
        """Count as `torch.utils.flop_counter` does, which would import Triton."""
        return 2 * x[0] * math.prod(positions) * math.prod(weight)

    inputs, outputs = flops(x[2:]), flops(y[2:])
    want = inputs if transposed else outputs
    value = expect.integer(got, call)
    if value == want:
        return
    guesses = {"macs": want / 2, "groups": want * groups, "input": inputs}
    guesses |= {"output": outputs, "picture": want / x[0]}
    matches = [name for name, guess in guesses.items() if value == guess]
    if len(matches) == 1:  # otherwise the mistake is ambiguous
        raise Failed(matches[0], call=call)
    raise Failed("expect.value", what=call, got=value, want=want)
