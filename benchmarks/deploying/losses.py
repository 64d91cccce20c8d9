"""How the images of a test part fare before and after a model was quantized."""

from collections.abc import Callable

import torch
from torch import Tensor

from deepseek_learn.zoo.evaluation import BATCH, Evaluation


def scores(evaluation: Evaluation, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """The score of each test image as two numbers `[2, N]`, one over the other.

    For classes they are hits over 1, for masks the intersection over the union.
    """
    part = evaluation.test
    rows = torch.arange(len(part)).split(BATCH)
    with torch.inference_mode():
        answers = torch.cat([predict(part.batch(index)[0]) for index in rows])
    predicted, labels = answers.argmax(1), part.labels  # [N] or [N, H, W]
    if labels.dim() == 1:
        return torch.stack([predicted == labels, torch.ones_like(labels)])
    predicted, truth = (predicted == 1).flatten(1), (labels == 1).flatten(1)
    return torch.stack([(predicted & truth).sum(1), (predicted | truth).sum(1)])
