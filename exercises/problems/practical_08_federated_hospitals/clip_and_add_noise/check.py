"""A sum of clipped gradients with Gaussian noise."""

import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

WIDE = 20_000  # values, so that the noise's deviation is known to 1 %


def check(answer, rng) -> None:
    expect.function(answer, "private_sum")
    for case in range(5):
        gradients, clip = patients(rng, 6 if case else 1), float(rng.uniform(0.5, 3))
        call = f"private_sum(gradients of {len(gradients)} patients, {clip:.3g}, 0.0)"
        compare(expect.call(answer, gradients, clip, 0.0), gradients, clip, call)
    zeros = torch.zeros(3, 8)
    compare(
        expect.call(answer, zeros, 1.0, 0.0), zeros, 1.0, "private_sum(zeros, 1, 0)"
    )
    for clip, noise in ((0.5, 2.0), (4.0, 1.5)):
        compare_noise(answer, rng, clip, noise)


def patients(rng, count: int) -> torch.Tensor:
    """Gradients with norms from 0.1 to 10."""
    directions = torch.tensor(rng.normal(size=(count, 30))).float()
    norms = torch.tensor(10 ** rng.uniform(-1, 1, (count, 1))).float()
    return directions / directions.norm(dim=1, keepdim=True) * norms


def clipped(gradients: torch.Tensor, clip: float) -> torch.Tensor:
    norms = gradients.double().norm(dim=1, keepdim=True).clamp_min(1e-30)
    return gradients.double() * (clip / norms).clamp(max=1)


def compare(got, gradients: torch.Tensor, clip: float, call: str) -> None:
    want = clipped(gradients, clip).sum(0)
    expect.tensor(got, call)
    exact = gradients.double()
    total = exact.sum(0)
    norms = exact.norm(dim=1, keepdim=True).clamp_min(1e-30)
    guesses = {
        "sum": total * min(1.0, clip / max(total.norm().item(), 1e-30)),
        "values": exact.clamp(-clip, clip).sum(0),
        "grow": (exact / norms * clip).sum(0),
        "unclipped": total,
        "mean": clipped(gradients, clip).mean(0),
    }
    if got.shape == want.shape:
        for key, guess in guesses.items():
            apart = (guess - want).abs().max()
            if apart > 1e-3 and torch.allclose(
                got.double(), guess, atol=1e-5, rtol=1e-5
            ):
                raise Failed(key, call=call)
    expect.close(got, want.float(), call)


def compare_noise(answer, rng, clip: float, noise: float) -> None:
    count = 9
    gradients = torch.tensor(rng.normal(size=(count, WIDE))).float()
    call = f"private_sum(gradients of {count} patients, {clip:g}, {noise:g})"
    sums = [expect.call(answer, gradients, clip, noise) for _ in range(2)]
    for each in sums:
        expect.tensor(each, call)
        expect.shape(each, (WIDE,), call)
    grains = [each.double() - clipped(gradients, clip).sum(0) for each in sums]
    if torch.equal(*sums):
        raise Failed("silent" if grains[0].abs().max() < 1e-3 else "same", call=call)
    got, want = float(grains[0].std()), noise * clip
    if got < 1e-3 * want or len(grains[0].float().unique()) < WIDE / 2:
        raise Failed("one", call=call)
    for key, guess in {"norm": noise, "each": want * count**0.5}.items():
        if abs(got / guess - 1) < 0.04:
            raise Failed(key, call=call, got=got, want=want)
    if abs(got / want - 1) > 0.04 or abs(float(grains[0].mean())) > 0.05 * want:
        raise Failed("deviation", call=call, got=got, want=want)
    fourth = float((grains[0] / grains[0].std()).pow(4).mean())
    if abs(fourth - 3) > 0.5:  # 14 times its standard error
        raise Failed("bell", call=call)
