# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Top-k routing with groups: the bias chooses, the scores weigh."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "route(scores, bias, groups, top_groups, top_k)"


def check(answer, rng) -> None:
    expect.function(answer, "route")
    for i in range(6):
        scores, bias, options = draw(rng, i)
        while i == 3 and alike(scores, bias, *options):
            scores, bias, options = draw(rng, i)
        given = torch.from_numpy(scores).float(), torch.from_numpy(bias).float()
        got = expect.call(answer, *given, *options)
        chosen, weights = expect.parts(got, 2, CALL)
        compare(chosen, weights, *(x.double().numpy() for x in given), *options)


def draw(rng, i: int) -> tuple:
    """Scores, bias, and the three options of case `i`."""
    groups, each = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    top_groups = groups if i == 0 else int(rng.integers(1, groups + 1))
    top_k = int(rng.integers(1, min(4, top_groups * each) + 1))
    scores = rng.uniform(0.05, 1, size=(int(rng.integers(3, 9)), groups * each))
    bias = 0.0 * scores[0] if i == 1 else rng.normal(0, 0.5, size=groups * each)
    if i == 2:  # all steered scores are negative
        bias, top_groups, top_k = bias - 4, groups - 1, 2
    return scores, bias, (groups, top_groups, top_k)


def reference(
    scores, bias, groups, top_groups, top_k, *, best=2, steered=True, whole=False
):
    """Which experts, as a 0/1 matrix `[N, E]`."""
    pick = scores + bias * steered
    grouped = pick.reshape(len(pick), groups, -1)
    value = np.sort(grouped, 2)[:, :, -best:].sum(2)
    if whole:  # one choice of groups for the batch
        value = np.broadcast_to(value.sum(0), value.shape)
    kept = np.argsort(-value, 1)[:, :top_groups]
    allowed = np.zeros_like(value, dtype=bool)
    np.put_along_axis(allowed, kept, True, 1)
    pick = np.where(allowed[:, :, None], grouped, -np.inf).reshape(pick.shape)
    mask = np.zeros_like(pick)
    np.put_along_axis(mask, np.argsort(-pick, 1)[:, :top_k], 1.0, 1)
    return mask


CHANGES = {
    "steered": {"steered": False},
    "one": {"best": 1},
    "all": {"best": 10**6},
    "three": {"best": 3},
    "batch": {"whole": True},
    "groups": {},
}


def guess(key: str, scores, bias, groups, top_groups, top_k):
    """What a mistake chooses."""
    kept = groups if key == "groups" else top_groups
    return reference(scores, bias, groups, kept, top_k, **CHANGES[key])


def alike(scores, bias, *options) -> bool:
    """Whether a mistake is not to be told from the right answer, or from another."""
    found = [guess(key, scores, bias, *options) for key in CHANGES]
    found.append(reference(scores, bias, *options))
    return len({each.tobytes() for each in found}) < len(found)


def compare(chosen, weights, scores, bias, *options) -> None:
    expect.tensor(chosen, CALL + "[0]", torch.int64)
    expect.tensor(weights, CALL + "[1]", torch.float32)
    size = (len(scores), options[-1])
    places = expect.shape(chosen, size, CALL + "[0]")
    shares = expect.shape(weights, size, CALL + "[1]")
    experts = scores.shape[1]
    whole = (places == np.floor(places)) & (places >= 0) & (places < experts)
    if not whole.all() or any(len(set(row)) < len(row) for row in places):
        raise Failed("route_the_tokens.experts", experts=experts)
    places = places.astype(int)
    mask = np.zeros_like(scores)
    np.put_along_axis(mask, places, 1.0, 1)
    if (mask != reference(scores, bias, *options)).any():
        made = [
            key for key in CHANGES if (mask == guess(key, scores, bias, *options)).all()
        ]
        if len(made) == 1:  # else it may be either
            raise Failed(f"route_the_tokens.{made[0]}")
        row = int((mask != reference(scores, bias, *options)).any(1).argmax())
        right = np.flatnonzero(reference(scores, bias, *options)[row]).tolist()
        got = sorted(places[row].tolist())
        raise Failed("route_the_tokens.other", row=row, got=got, want=right)
    biased = np.take_along_axis(scores + bias, places, 1)
    plain = np.take_along_axis(scores, places, 1)
    for key, wrong in (
        ("biased", biased / biased.sum(1, keepdims=True)),
        ("sum", plain),
    ):
        right = plain / plain.sum(1, keepdims=True)
        if np.allclose(shares, wrong, atol=1e-4) and not np.allclose(wrong, right):
            raise Failed(f"route_the_tokens.{key}")
    want = torch.from_numpy(plain / plain.sum(1, keepdims=True))
    expect.close(weights, want, CALL + "[1]", 1e-4)


HEAD = "import torch\n\n\ndef route(scores, bias, groups, top_groups, top_k):\n"
BODY = """    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="route_the_tokens",
    version=3,
    lesson="mixture_of_experts",
    stage="basic",
    title={"en": "Route the tokens", "zh": "给词元选专家"},
    prompt={
        "en": """A router has given each token a positive score for each expert. Write `route(scores, bias, groups, top_groups, top_k)` as DeepSeek-V3 does it;
`scores` float32 `[N, E]`, `bias` float32 `[E]`. The experts stand in `groups` groups of equal size, neighbours together.

1. Add the bias to the scores. These **steered** scores decide everything that is chosen.
2. A group is worth the sum of its **two** largest steered scores. Keep the `top_groups` best groups of each token.
3. Of the experts in them, choose the `top_k` with the largest steered scores.
4. The weights are the chosen experts' scores **without** the bias, divided by their sum.

Return the experts, int64 `[N, k]`, and the weights, float32 `[N, k]`, in the same order (any order will do).""",
        "zh": """路由器已给每个词元对每个专家打出正的得分。请按 DeepSeek-V3 的做法编写 `route(scores, bias, groups, top_groups, top_k)`；`scores` 是 float32 `[N, E]`，`bias` 是 float32 `[E]`。专家分成大小相等的 `groups` 组，相邻的在一组。

1. 把偏置加到得分上。所有选择都由这个**加了偏置的**得分决定。
2. 一组的价值，是组内**最大的两个**加偏置得分之和。每个词元保留价值最高的 `top_groups` 组。
3. 在这些组的专家中，选出加偏置得分最大的 `top_k` 个。
4. 权重用所选专家**不加**偏置的得分，再除以它们的和。

返回专家编号 int64 `[N, k]` 和权重 float32 `[N, k]`，两者顺序一致（什么顺序都行）。""",
    },
    starter=HEAD + "    ...\n",
    answer="route",
    hints=(
        {
            "en": "`(scores + bias).unflatten(1, (groups, -1))` is `[N, groups, E / groups]`; `.topk(2).values.sum(2)` is the worth of each group.",
            "zh": "`(scores + bias).unflatten(1, (groups, -1))` 的形状是 `[N, groups, E / groups]`；`.topk(2).values.sum(2)` 就是各组的价值。",
        },
        {
            "en": 'Set the steered scores of groups that are left out to `float("-inf")` before the last `topk`; 0 would not do, steered scores may be negative.',
            "zh": '最后一次 `topk` 之前，把未保留各组的加偏置得分设成 `float("-inf")`；设成 0 不行，因为加偏置得分可以是负的。',
        },
        {
            "en": "Weights: `scores.gather(1, chosen)`, with `scores`, not with the steered ones.",
            "zh": "权重：`scores.gather(1, chosen)`，用的是 `scores`，而不是加了偏置的得分。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "the bias in the weights": changed(
            "scores.gather(1, chosen)", "(scores + bias).gather(1, chosen)"
        ),
        "a group's three best": changed("topk(2)", "topk(3)"),
        "the groups of the whole batch": changed(
            "value.topk(top_groups).indices",
            "value.sum(0).topk(top_groups).indices.expand(len(value), -1)",
        ),
        "no bias in the choice": changed("(scores + bias)", "scores"),
        "a group's best one": changed("topk(2)", "topk(1)"),
        "all of a group": changed("topk(2).values.sum(2)", "sum(2)"),
        "experts in int32": changed("return chosen,", "return chosen.int(),"),
        "all groups": changed("value.topk(top_groups)", "value.topk(groups)"),
        "weights that do not add up": changed(" / weights.sum(1, keepdim=True)", ""),
        "left-out groups at zero": changed('float("-inf")', "0.0"),
        "experts counted in their group": changed(
            "return chosen, weights",
            "return chosen % (scores.shape[1] // groups), weights",
        ),
        "softmax of the weights": changed(
            "weights / weights.sum(1, keepdim=True)", "weights.softmax(1)"
        ),
    },
    right={
        "token by token": HEAD
        + """    chosen, weights = [], []
    for row in scores:
        steered = row + bias
        parts = steered.chunk(groups)
        worth = [sum(sorted(part.tolist())[-2:]) for part in parts]
        best = sorted(range(groups), key=lambda g: -worth[g])[:top_groups]
        size = len(row) // groups
        among = [g * size + e for g in best for e in range(size)]
        among.sort(key=lambda e: -steered[e].item())
        chosen.append(among[:top_k][::-1])
        weights.append(row[chosen[-1]] / row[chosen[-1]].sum())
    return [torch.tensor(chosen), torch.stack(weights)]
""",
    },
    points=3,
    minutes=25,
)
