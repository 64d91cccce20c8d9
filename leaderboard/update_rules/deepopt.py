"""The project's own optimizer, with its defaults except for the learning rate."""

from deepseek_learn.optim import DeepOpt


def optimizer(model, steps, lr=16e-3):
    return DeepOpt(model, lr)
