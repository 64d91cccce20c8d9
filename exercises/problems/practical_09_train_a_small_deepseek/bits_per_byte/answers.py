"""Answers to `bits_per_byte`: the starter, right ones and wrong ones."""

# %% starter
import math


def bits_per_byte(nats, text):
    ...

# %% solution
import math


def bits_per_byte(nats, text):
    return sum(nats) / math.log(2) / len(text.encode())

# %% right: in PyTorch, float32
import torch


import math


def bits_per_byte(nats, text):
    bits = torch.tensor(nats) * torch.log2(torch.tensor(torch.e))
    return bits.sum() / len(bytes(text, "utf-8"))

# %% wrong: nats per byte
import math


def bits_per_byte(nats, text):
    return sum(nats) / len(text.encode())

# %% wrong: bits per character
import math


def bits_per_byte(nats, text):
    return sum(nats) / math.log(2) / len(text)

# %% wrong: bits per token
import math


def bits_per_byte(nats, text):
    return sum(nats) / math.log(2) / len(nats)

# %% wrong: the mean token's bits over the bytes
import math


def bits_per_byte(nats, text):
    return sum(nats) / len(nats) / math.log(2) / len(text.encode())

# %% wrong: multiplied by ln 2
import math


def bits_per_byte(nats, text):
    return sum(nats) * math.log(2) / len(text.encode())

# %% wrong: not divided by the bytes
import math


def bits_per_byte(nats, text):
    return sum(nats) / math.log(2)

# %% wrong: leading and trailing whitespace stripped
import math


def bits_per_byte(nats, text):
    return sum(nats) / math.log(2) / len(text.strip().encode())

# %% wrong: bytes in UTF-16
import math


def bits_per_byte(nats, text):
    return sum(nats) / math.log(2) / len(text.encode("utf-16-le"))
