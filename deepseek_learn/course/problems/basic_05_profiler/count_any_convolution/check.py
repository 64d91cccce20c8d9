"""The FLOPs of a convolution from its shapes: strides, groups, transposed or not."""

import torch
import torch.nn.functional as F

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "conv_flops")
    seen = set()
    while len(seen) < 8:  # each of transposed, grouped and strided, and not
        x, weight, stride, padding, transposed, groups = draw(rng)
        seen.add((transposed, groups > 1, stride > 1))
        ask(answer, x, weight, groups, stride, padding, transposed)
    for transposed in (False, True):
        for case in edges(rng, transposed):
            ask(answer, *case, transposed=transposed)
    ask(answer, (2, 4, 7, 9), (6, 4, 3, 3), 1)  # what is not given is as in the task


def edges(rng, transposed: bool) -> list[tuple]:
    """Input, weight, groups, stride, padding: where a formula is easily one off."""
    n, c = int(rng.integers(4, 9)), 2 * int(rng.integers(2, 5))
    rows = (c, c + 1) if transposed else (c + 1, c)
    return [
        ((3, c, 2 * n, 2 * n + 1), (*rows, 3, 3), 1, 2, 0),  # one side has a rest
        ((1, c, n, n), (*rows, n, n), 1, 1, 0),  # one position
        ((3, c, n, n + 1), (*rows, 1, 1), 1, 2, 0),
        ((3, c, n, n + 1), (*rows, 2, 2), 1, 1, 2),
        ((3, c, 2 * n, n), (c, 1, 3, 3), c, 2, 1),  # depthwise
        ((1, 1, n, n), (1, 1, 3, 3), 1, 1, 1),
    ]


def ask(answer, x, weight, groups, *options, **named) -> None:
    sizes = {"stride": 1, "padding": 0, "transposed": False}
    sizes |= dict(zip(sizes, options, strict=False)) | named
    y = shapes(x, weight, groups=groups, **sizes)
    words = [f"{key}={value}" for key, value in named.items()]
    call = f"conv_flops({', '.join(map(str, [x, weight, *options, *words]))})"
    got = expect.call(answer, x, weight, *options, **named)
    compare(got, call, x, weight, y, sizes["transposed"], groups)


def draw(rng) -> tuple:
    """Shapes of the input and of PyTorch's weight, stride, padding, transposed, groups."""
    batch, size, kernel = (int(rng.integers(*r)) for r in ((3, 6), (7, 20), (3, 6)))
    c_in, c_out = (int(rng.choice([4, 6, 8])) for _ in range(2))
    transposed, groups = bool(rng.integers(2)), int(rng.choice([1, 2]))
    stride, padding = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    rows = (c_in, c_out // groups) if transposed else (c_out, c_in // groups)
    x = (batch, c_in, size, size + int(rng.integers(0, 4)))
    return x, (*rows, kernel, kernel), stride, padding, transposed, groups


def shapes(x, weight, stride, padding, transposed, groups) -> tuple:
    """The output's shape, by PyTorch itself: on the device "meta" nothing is computed."""
    convolve = F.conv_transpose2d if transposed else F.conv2d
    given, kernel = (torch.empty(size, device="meta") for size in (x, weight))
    y = convolve(given, kernel, stride=stride, padding=padding, groups=groups)
    return tuple(y.shape)


def compare(got, call: str, x, weight, y, transposed: bool, groups: int) -> None:
    # imported where it is used: it brings Triton along, some 80 MiB
    from torch.utils.flop_counter import conv_flop_count

    want = conv_flop_count(x, weight, y, transposed=transposed)
    value = expect.whole(got, call)
    if value == want:
        return
    outputs = conv_flop_count(x, weight, y, transposed=False)
    guesses = {"macs": want / 2, "groups": want * groups}
    guesses |= {"input": conv_flop_count(x, weight, y, transposed=True)}
    guesses |= {"output": outputs, "picture": want / x[0]}
    made = [name for name, guess in guesses.items() if value == guess]
    if len(made) == 1:  # else it may be either
        raise Failed(made[0], call=call)
    raise Failed("expect.value", what=call, got=value, want=want)
