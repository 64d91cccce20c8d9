"""Top-k routing with groups: the bias affects the choice, the scores give the weights."""

from typing import Any

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "route(scores, bias, groups, top_groups, top_k)"


def check(answer, rng) -> None:
    expect.function(answer, "route")
    for i in range(6):
        scores, bias, options = draw(rng, i)
        while i == 3 and alike(scores, bias, *options):
            scores, bias, options = draw(rng, i)
        inputs = torch.from_numpy(scores).float(), torch.from_numpy(bias).float()
        got = expect.call(answer, *inputs, *options)
        chosen, weights = expect.parts(got, 2, CALL)
        compare(chosen, weights, *(x.double().numpy() for x in inputs), *options)


def draw(rng, i: int) -> tuple:
    """Draw the scores, the bias, and the three options of case `i`."""
    groups, group_size = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    top_groups = groups if i == 0 else int(rng.integers(1, groups + 1))
    top_k = int(rng.integers(1, min(4, top_groups * group_size) + 1))
    scores = rng.uniform(0.05, 1, size=(int(rng.integers(3, 9)), groups * group_size))
    bias = 0.0 * scores[0] if i == 1 else rng.normal(0, 0.5, size=groups * group_size)
    if i == 2:  # all steered scores are negative
        bias, top_groups, top_k = bias - 4, groups - 1, 2
    return scores, bias, (groups, top_groups, top_k)


def reference(
    scores, bias, groups, top_groups, top_k, *, best=2, steered=True, per_batch=False
):
    """Return the chosen experts as a 0/1 matrix `[N, E]`."""
    pick = scores + bias * steered
    grouped = pick.reshape(len(pick), groups, -1)
    value = np.sort(grouped, 2)[:, :, -best:].sum(2)
    if per_batch:  # one choice of groups for the whole batch
        value = np.broadcast_to(value.sum(0), value.shape)
    best_groups = np.argsort(-value, 1)[:, :top_groups]
    allowed = np.zeros_like(value, dtype=bool)
    np.put_along_axis(allowed, best_groups, True, 1)
    pick = np.where(allowed[:, :, None], grouped, -np.inf).reshape(pick.shape)
    mask = np.zeros_like(pick)
    np.put_along_axis(mask, np.argsort(-pick, 1)[:, :top_k], 1.0, 1)
    return mask


CHANGES: dict[str, dict[str, Any]] = {
    "steered": {"steered": False},
    "one": {"best": 1},
    "all": {"best": 10**6},
    "three": {"best": 3},
    "batch": {"per_batch": True},
    "groups": {},
}


def guess(key: str, scores, bias, groups, top_groups, top_k):
    """Return the experts that a mistake chooses."""
    top_groups = groups if key == "groups" else top_groups
    return reference(scores, bias, groups, top_groups, top_k, **CHANGES[key])


def alike(scores, bias, *options) -> bool:
    """Return whether a mistake looks like the right answer or like another mistake."""
    masks = [guess(key, scores, bias, *options) for key in CHANGES]
    masks.append(reference(scores, bias, *options))
    return len({mask.tobytes() for mask in masks}) < len(masks)


def compare(chosen, weights, scores, bias, *options) -> None:
    expect.tensor(chosen, CALL + "[0]", torch.int64)
    expect.tensor(weights, CALL + "[1]", torch.float32)
    size = (len(scores), options[-1])
    places = expect.shape(chosen, size, CALL + "[0]")
    shares = expect.shape(weights, size, CALL + "[1]")
    experts = scores.shape[1]
    valid = (places == np.floor(places)) & (places >= 0) & (places < experts)
    if not valid.all() or any(len(set(row)) < len(row) for row in places):
        raise Failed("experts", experts=experts)
    places = places.astype(int)
    mask = np.zeros_like(scores)
    np.put_along_axis(mask, places, 1.0, 1)
    if (mask != reference(scores, bias, *options)).any():
        matches = [
            key for key in CHANGES if (mask == guess(key, scores, bias, *options)).all()
        ]
        if len(matches) == 1:  # otherwise the mistake is ambiguous
            raise Failed(matches[0])
        row = int((mask != reference(scores, bias, *options)).any(1).argmax())
        right = np.flatnonzero(reference(scores, bias, *options)[row]).tolist()
        got = sorted(places[row].tolist())
        raise Failed("other", row=row, got=got, want=right)
    biased = np.take_along_axis(scores + bias, places, 1)
    plain = np.take_along_axis(scores, places, 1)
    for key, wrong in (
        ("biased", biased / biased.sum(1, keepdims=True)),
        ("sum", plain),
    ):
        right = plain / plain.sum(1, keepdims=True)
        if np.allclose(shares, wrong, atol=1e-4) and not np.allclose(wrong, right):
            raise Failed(key)
    want = torch.from_numpy(plain / plain.sum(1, keepdims=True))
    expect.close(weights, want, CALL + "[1]", 1e-4)
