"""The reference: PyTorch's AdamW, tuned by `leaderboard/tune.py`."""

import torch


def optimizer(model, steps, lr=4e-3, beta1=0.9, beta2=0.95, decay=0.1):
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), weight_decay=decay)
