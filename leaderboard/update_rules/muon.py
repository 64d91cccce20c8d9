"""PyTorch's Muon on the matrices that DeepOpt orthogonalizes, AdamW on the rest."""

import torch

from deepseek_learn.optim import DeepOpt


class FlatMuon(torch.optim.Muon):
    """Muon, which takes matrices only, on views of the kernels as matrices."""

    def __init__(self, group, **options):
        pairs = zip(group["params"], group["shapes"], strict=True)
        # p → views of its matrices [m, n], on the same storage
        self.views = [(p, list(p.detach().view(shape))) for p, shape in pairs]
        super().__init__([m for _, views in self.views for m in views], **options)

    def step(self, closure=None):
        for p, views in self.views:
            shape = len(views), *views[0].shape
            for view, gradient in zip(views, p.grad.view(shape), strict=True):
                view.grad = gradient
        return super().step()


class Both(torch.optim.Optimizer):
    """Optimizers that step together; the groups are theirs."""

    def __init__(self, parts, parameters):
        self.parts = parts
        super().__init__(parameters, {})
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure=None):
        for part in self.parts:
            part.step()


def optimizer(model, steps, lr=16e-3):
    groups = {group["role"]: group for group in DeepOpt(model).param_groups}
    muon = FlatMuon(groups["matrix"], lr=lr, adjust_lr_fn="match_rms_adamw")
    rest = torch.optim.AdamW(groups["adamw"]["params"], lr=lr, betas=(0.9, 0.95))
    return Both([muon, rest], model.parameters())
