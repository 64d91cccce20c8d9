"""PyTorch's Muon on the matrices that DeepOpt would orthogonalize, AdamW on the rest."""

import torch

from deepseek_learn.optim import DeepOpt


class Both(torch.optim.Optimizer):
    """Two optimizers that step together; the groups are theirs."""

    def __init__(self, parts):
        self.parts = parts
        super().__init__(
            [p for part in parts for p in part.param_groups[0]["params"]], {}
        )
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure=None):
        for part in self.parts:
            part.step()


def optimizer(model, steps, lr=16e-3):
    groups = {group["role"]: group["params"] for group in DeepOpt(model).param_groups}
    matrices = [p for p in groups["matrix"] if p.dim() == 2]
    rest = [p for p in model.parameters() if not any(p is m for m in matrices)]
    muon = torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw")
    return Both([muon, torch.optim.AdamW(rest, lr=lr / 2, betas=(0.9, 0.95))])
