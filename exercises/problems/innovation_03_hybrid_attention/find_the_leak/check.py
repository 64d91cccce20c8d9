"""Test whether an attention of any kind sees the future."""

import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "leaks(attend, tokens, width)"


def mean_of_the_past(x):
    mask = torch.ones(len(x), len(x)).tril()
    return mask / mask.sum(1, keepdim=True) @ x


def window(x, size=4):
    places = torch.arange(len(x))
    distance = places[:, None] - places
    mask = ((distance >= 0) & (distance < size)).float()
    return mask / mask.sum(1, keepdim=True) @ x


def entries(x, rate=4, late=1):
    """Attend to window means; with late=0, a window is visible to its own tokens."""
    count = len(x) // rate
    means = x[: count * rate].unflatten(0, (count, rate)).mean(1)
    places = torch.arange(len(x))[:, None]
    full = (places + 1) // rate if late else places // rate + 1
    mask = (torch.arange(count) < full).float()
    return x + mask @ means / (1 + mask.sum(1, keepdim=True))


def gate_over_all_tokens(x):
    """Apply a channel gate pooled over the whole text."""
    return x * torch.sigmoid(x.mean(0))


def gate_over_the_past(x):
    return x * torch.sigmoid(mean_of_the_past(x))


def next_token(x):
    return torch.cat([x[1:], x[-1:]]) * 0.01 + x


def last_sees_first(x):
    y = x.clone()
    y[-1] = x[0]
    return y


def first_sees_last(x):
    y = x.clone()
    y[0] = y[0] + 0.1 * x[-1]
    return y


def sees_the_next(place, source, target):
    """Leak at one position only, from one channel to another."""

    def attend(x):
        y = x.clone()
        y[place, target] = y[place, target] + x[place + 1, source]
        return y

    attend.__name__ = f"place_{place}_sees_place_{place + 1}"
    return attend


def from_channel_to_channel(source, target):
    def attend(x):
        y = x.clone()
        y[:-1, target] = y[:-1, target] + x[1:, source]
        return y

    attend.__name__ = f"channel_{target}_sees_channel_{source}_of_the_next_token"
    return attend


def opposite_leaks_in_two_channels(x):
    """Leak with opposite signs in two channels, so that their mean shows nothing."""
    y = x.clone()
    y[:-1, 0] = y[:-1, 0] + x[1:, 1]
    y[:-1, 1] = y[:-1, 1] - x[1:, 1]
    return y


def faint_leak_of_a_later_token(x):
    """Leak a thousandth of the token after next."""
    return window(x) + 1e-3 * torch.cat([x[2:], x[-2:]])


CAUSAL = (mean_of_the_past, window, entries, gate_over_the_past, last_sees_first)
LEAKY = (
    lambda x: entries(x, late=0),
    gate_over_all_tokens,
    next_token,
    first_sees_last,
    from_channel_to_channel(0, -1),
    from_channel_to_channel(-1, 0),
    opposite_leaks_in_two_channels,
    faint_leak_of_a_later_token,
)


def check(answer, rng) -> None:
    expect.function(answer, "leaks")
    cases = [
        (kind, leaky, 4 * int(rng.integers(3, 7)), int(rng.integers(3, 9)))
        for kinds, leaky in ((CAUSAL, False), (LEAKY, True))
        for kind in kinds
    ]
    tokens, width = int(rng.integers(14, 18)), 2
    for place in range(tokens - 1):
        source, target = rng.integers(0, width, 2).tolist()
        cases.append((sees_the_next(place, source, target), True, tokens, width))
    for index in rng.permutation(len(cases)):
        kind, leaky, tokens, width = cases[index]
        calls = 0

        def attend(x, kind=kind, tokens=tokens, width=width):
            nonlocal calls
            calls += 1
            if tuple(x.shape) != (tokens, width):
                raise ValueError(
                    f"attend takes [{tokens}, {width}]; got {list(x.shape)}"
                )
            return kind(x)

        torch.manual_seed(int(rng.integers(2**31)))
        got = expect.call(answer, attend, tokens, width)
        got = expect.boolean(got, CALL)
        if not calls:
            raise Failed("not_called")
        if got != leaky:
            name = getattr(kind, "__name__", "entries").strip("<>")
            names = {"lambda": "an entry that its own window's tokens see"}
            key = "missed" if leaky else "blamed"
            description = names.get(name, name.replace("_", " "))
            raise Failed(key, attention=description)
