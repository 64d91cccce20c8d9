"""Answers to `adamw_by_hand`: the starter, right ones and wrong ones."""

# %% starter
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    ...

# %% solution
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% right: with the operations that torch.optim uses
import torch


def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = torch.lerp(m, g, 1 - beta1)
    v = (v * beta2).addcmul_(g, g, value=1 - beta2)
    root = v.sqrt() / (1 - beta2**t) ** 0.5
    p = (p * (1 - lr * decay)).addcdiv_(m, root + eps, value=-lr / (1 - beta1**t))
    return [p, m, v]

# %% right: in float64
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    p, g, m, v = (x.double() for x in (p, g, m, v))
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: no bias correction
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean, square = m, v
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: only the mean corrected
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: decay added to the gradient
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    g = g + decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: decay without the learning rate
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: no decay
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: eps inside the root
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square + eps).sqrt()
    return p, m, v

# %% wrong: the averages updated after use
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2

# %% wrong: the betas swapped
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * g + (1 - beta1) * m
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: the corrected averages returned
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, mean, square

# %% wrong: the averages changed in place
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: the parameter changed in place
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p *= 1 - lr * decay
    p -= lr * mean / (square.sqrt() + eps)
    return p, m, v

# %% wrong: no square root
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square + eps)
    return p, m, v
