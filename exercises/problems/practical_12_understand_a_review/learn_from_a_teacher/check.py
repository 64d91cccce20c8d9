"""The loss of distillation, with labels mixed in."""

import math

import torch
import torch.nn.functional as F

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "loss")
    for count, hard in ((5, 0.3), (1, 0.5), (40, 0.0), (16, 1.0), (30, 0.8)):
        logits, teacher = (torch.from_numpy(rng.normal(0, 2, count)) for _ in range(2))
        labels = torch.from_numpy(rng.integers(0, 2, count))
        call = f"loss(logits [{count}], teacher [{count}], labels, {hard:g})"
        compare(answer, logits, teacher, labels, hard, call)
    large = torch.tensor([200.0, -200.0, 90.0], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0])
    call = "loss(tensor([200., -200., 90.]), -logits, tensor([0, 1, 0]), 0.3)"
    result = expect.call(answer, large.clone(), -large, labels.clone(), 0.3)
    expect.tensor(result, call)
    got = float(expect.shape(result.detach(), (), call))
    if not math.isfinite(got):
        raise Failed("infinite", call=call, got=str(got))
    compare(answer, large, -large, labels, 0.3, call)


def target(teacher, labels, hard: float, kind: str = "") -> torch.Tensor:
    chance = {"logits": teacher, "thresholded": (teacher > 0).double()}.get(
        kind, teacher.sigmoid()
    )
    weight = 1 - hard if kind == "swapped" else hard
    return weight * labels.double() + (1 - weight) * chance


def compare(answer, logits, teacher, labels, hard: float, call: str) -> None:
    own, other = logits.clone().requires_grad_(), teacher.clone().requires_grad_()
    result = expect.call(answer, own, other, labels.clone(), hard)
    expect.tensor(result, call)
    got = float(expect.shape(result.detach(), (), call))
    reference = logits.clone().requires_grad_()
    want = F.binary_cross_entropy_with_logits(reference, target(teacher, labels, hard))
    want.backward()
    value = float(want.detach())
    if not math.isclose(got, value, rel_tol=1e-5, abs_tol=1e-7):
        guesses = {
            kind: F.binary_cross_entropy_with_logits(
                logits, target(teacher, labels, hard, kind)
            )
            for kind in ("swapped", "logits", "thresholded")
        }
        guesses["sum"] = want.detach() * len(logits)
        for kind, guess in guesses.items():
            if math.isclose(got, float(guess), rel_tol=1e-5, abs_tol=1e-7):
                raise Failed(kind, call=call)
        raise Failed("value", call=call, want=value, got=got)
    if not result.requires_grad:
        raise Failed("detached", call=call)
    result.backward()
    if own.grad is None:
        raise Failed("detached", call=call)
    if other.grad is not None and other.grad.abs().max() > 0:
        raise Failed("teacher", call=call)
    if not torch.allclose(own.grad, reference.grad, rtol=1e-5, atol=1e-8):
        raise Failed("gradient", call=call)
