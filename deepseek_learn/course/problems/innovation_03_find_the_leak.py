# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A test that finds whether an attention sees the future, whatever it is."""

import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "leaks(attend, tokens, width)"


def mean_of_the_past(x):
    seen = torch.ones(len(x), len(x)).tril()
    return seen / seen.sum(1, keepdim=True) @ x


def window(x, size=4):
    places = torch.arange(len(x))
    distance = places[:, None] - places
    seen = ((distance >= 0) & (distance < size)).float()
    return seen / seen.sum(1, keepdim=True) @ x


def entries(x, rate=4, late=1):
    """Means of windows; with late=0 a window is seen by its own tokens."""
    count = len(x) // rate
    means = x[: count * rate].unflatten(0, (count, rate)).mean(1)
    places = torch.arange(len(x))[:, None]
    full = (places + 1) // rate if late else places // rate + 1
    seen = (torch.arange(count) < full).float()
    return x + seen @ means / (1 + seen.sum(1, keepdim=True))


def gate_of_all(x):
    """A channel gate pooled over the whole text."""
    return x * torch.sigmoid(x.mean(0))


def gate_of_the_past(x):
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
    """At one place only, and from one channel to another."""

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


def there_and_taken_away(x):
    """What one channel gains, another loses: their mean shows nothing."""
    y = x.clone()
    y[:-1, 0] = y[:-1, 0] + x[1:, 1]
    y[:-1, 1] = y[:-1, 1] - x[1:, 1]
    return y


def faint(x):
    """A thousandth of the token after the next."""
    return window(x) + 1e-3 * torch.cat([x[2:], x[-2:]])


SOUND = (mean_of_the_past, window, entries, gate_of_the_past, last_sees_first)
LEAKY = (
    lambda x: entries(x, late=0),
    gate_of_all,
    next_token,
    first_sees_last,
    from_channel_to_channel(0, -1),
    from_channel_to_channel(-1, 0),
    there_and_taken_away,
    faint,
)


def check(answer, rng) -> None:
    expect.function(answer, "leaks")
    cases = [
        (kind, leaky, 4 * int(rng.integers(3, 7)), int(rng.integers(3, 9)))
        for kinds, leaky in ((SOUND, False), (LEAKY, True))
        for kind in kinds
    ]
    tokens, width = int(rng.integers(14, 18)), 2
    for place in range(tokens - 1):
        source, target = rng.integers(0, width, 2).tolist()
        cases.append((sees_the_next(place, source, target), True, tokens, width))
    for index in rng.permutation(len(cases)):
        kind, leaky, tokens, width = cases[index]
        called = 0

        def attend(x, kind=kind, tokens=tokens, width=width):
            nonlocal called
            called += 1
            if tuple(x.shape) != (tokens, width):
                raise ValueError(
                    f"attend takes [{tokens}, {width}]; got {list(x.shape)}"
                )
            return kind(x)

        torch.manual_seed(int(rng.integers(2**31)))
        got = expect.call(answer, attend, tokens, width)
        got = expect.truth(got, CALL)
        if not called:
            raise Failed("find_the_leak.not_called")
        if got != leaky:
            name = getattr(kind, "__name__", "entries").strip("<>")
            names = {"lambda": "an entry that its own window's tokens see"}
            key = "missed" if leaky else "blamed"
            said = names.get(name, name.replace("_", " "))
            raise Failed(f"find_the_leak.{key}", attention=said)


HEAD = "import torch\n\n\ndef leaks(attend, tokens, width):\n"
BODY = """    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="find_the_leak",
    version=3,
    lesson="hybrid_attention",
    stage="innovation",
    title={"en": "Find the leak", "zh": "找出偷看未来的地方"},
    prompt={
        "en": """An attention that sees even a little of the future reaches wonderful losses, and writes rubbish: when it writes there is no future. Before you measure
one of your own, test it.

Write `leaks(attend, tokens, width)`. `attend` takes float32 `[tokens, width]`, the text, and returns as many vectors, one a token. Return `True` if the answer
at *any* place depends on what stands *later* (even by a thousandth), else `False`. Answers at different places may differ in any other way; `attend` always gives the same
answer to the same text. Use finite numbers: where an attention masks by multiplying with 0, NaN and infinity come through (0 · NaN is NaN): it looks like a leak though nothing of the future was used.""",
        "zh": """只要能看到一点点未来，一种注意力的损失就会好得出奇，写出来的却是废话：写的时候并没有未来。在测量自己的注意力之前，先检验它。

请编写 `leaks(attend, tokens, width)`。`attend` 接受 float32 `[tokens, width]`，即文本，并返回同样多的向量，每个词元一个。如果*任何*位置的答案取决于*后面*的内容（哪怕只有千分之一），返回 `True`，否则返回 `False`。其他方面，各位置的答案可以任意不同；对同样的文本，`attend` 总给出同样的答案。请用有限的数：有的注意力用乘以 0 来遮住未来，NaN 和无穷大会因此传过来（0 · NaN 仍是 NaN）：看起来像泄漏，其实并没有用到未来。""",
    },
    starter=HEAD + "    ...\n",
    answer="leaks",
    hints=(
        {
            "en": "Change the text from place `t` on, and leave what is before. Then nothing before `t` may change in the answer.",
            "zh": "从位置 `t` 起改动文本，前面的保持不变。这样，答案中 `t` 之前的部分不许改变。",
        },
        {
            "en": "Try *every* `t`: a leak may be at one place only, such as the border of a window. Compare with a tolerance near float32's rounding (1e-6).",
            "zh": "*每个* `t` 都要试：泄漏可能只在一处，例如窗口的边界。比较时的容差取 float32 舍入误差附近（1e-6）。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "only the middle": changed("range(1, tokens)", "[tokens // 2]"),
        "every other border": changed("range(1, tokens)", "range(1, tokens, 2)"),
        "the first and the last places only": changed(
            "range(1, tokens)", "[1, 2, 3, 4, *range(tokens - 4, tokens)]"
        ),
        "one channel of the answer compared": changed(
            "[:t], before[:t]", "[:t, 0], before[:t, 0]"
        ),
        "one channel of the text changed": changed(
            "other[t:] = torch.randn(tokens - t, width)",
            "other[t:, 0] = torch.randn(tokens - t)",
        ),
        "the last channel of text and answer only": changed(
            "[:t], before[:t]", "[:t, -1], before[:t, -1]"
        ).replace(
            "other[t:] = torch.randn(tokens - t, width)",
            "other[t:, -1] = torch.randn(tokens - t)",
        ),
        "the mean of the signed differences": changed(
            "not torch.allclose(attend(other)[:t], before[:t], atol=1e-6)",
            "(attend(other)[:t] - before[:t]).mean() > 1e-5",
        ),
        "a coarse comparison": changed("atol=1e-6", "atol=0.1"),
        "any change is a leak": changed("[:t], before[:t]", ", before"),
        "only the last token is changed": changed("range(1, tokens)", "[tokens - 1]"),
        "zeros for the text": changed(
            "torch.randn(tokens, width)\n    before",
            "torch.zeros(tokens, width)\n    before",
        ).replace("torch.randn(tokens - t, width)", "torch.zeros(tokens - t, width)"),
        "a tensor for a bool": changed("return True", "return torch.tensor(True)"),
        "always": HEAD + "    attend(torch.randn(tokens, width))\n    return True\n",
        "never": HEAD + "    attend(torch.randn(tokens, width))\n    return False\n",
    },
    right={
        "by derivatives": HEAD
        + """    x = torch.randn(tokens, width)
    slope = torch.autograd.functional.jacobian(attend, x)  # [T, d, T, d]
    later = torch.ones(tokens, tokens).triu(1).bool()
    return bool((slope.abs().amax((1, 3)) > 0)[later].any())
""",
    },
    points=3,
    minutes=25,
)
