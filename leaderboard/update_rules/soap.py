"""SOAP of `pytorch-optimizer`.

Vyas et al. 2024, "SOAP: Improving and stabilizing Shampoo using Adam", arXiv 2409.11321.
"""

from pytorch_optimizer import SOAP


def optimizer(model, steps, lr=4e-3):
    return SOAP(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
