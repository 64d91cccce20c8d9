"""Stochastic gradient descent with Nesterov momentum."""

import torch


def optimizer(model, steps, lr=0.1):
    parameters = model.parameters()
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True)
