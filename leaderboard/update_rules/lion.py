"""Lion of `pytorch-optimizer`.

Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv 2302.06675.
"""

from pytorch_optimizer import Lion


def optimizer(model, steps, lr=1e-3):
    return Lion(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
