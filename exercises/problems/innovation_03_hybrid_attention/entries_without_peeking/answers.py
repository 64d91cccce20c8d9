"""Answers to `entries_without_peeking`: the starter, right ones and wrong ones."""

# %% starter
import torch


def compress(content, gate, bias):
    ...

# %% solution
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% right: window by window, channel by channel
import torch


def compress(content, gate, bias):
    rate, dim = bias.shape
    count = len(content) // rate
    entries = torch.empty(count, dim)
    seen = torch.zeros(len(content), count, dtype=torch.bool)
    for w in range(count):
        part = slice(w * rate, (w + 1) * rate)
        for d in range(dim):
            shares = torch.softmax(gate[part, d] + bias[:, d], 0)
            entries[w, d] = shares @ content[part, d]
        seen[(w + 1) * rate - 1 :, w] = True
    return [entries, seen]

# %% wrong: a window is visible from its first token on
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers * rate <= tokens[:, None]

# %% wrong: the last windows, not the first
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[len(content) - count * rate :].unflatten(0, (count, rate))
    gates = gate[len(gate) - count * rate :].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% wrong: the last entry one token late before a partial window
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, (numbers < (tokens[:, None] + 1) // rate) & ~(
        (tokens[:, None] == count * rate - 1) & (numbers == count - 1)
        & (len(content) % rate > 0)
    )

# %% wrong: zeros fill the last window
import torch


def compress(content, gate, bias):
    short = -len(content) % len(bias)
    content = torch.cat([content, content.new_zeros(short, content.shape[1])])
    gate = torch.cat([gate, gate.new_zeros(short, gate.shape[1])])
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% wrong: one token too late
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < tokens[:, None] // rate

# %% wrong: everything is visible
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, torch.ones(len(content), count, dtype=torch.bool)

# %% wrong: a plain mean
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = windows.mean(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% wrong: without the bias
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate))
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% wrong: softmax over the channels
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(2)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% wrong: the partial window, too
import torch


def compress(content, gate, bias):
    rate = len(bias)
    short = -len(content) % rate or rate
    content = torch.cat([content, content.new_zeros(short, content.shape[1])])
    gate = torch.cat([gate, gate.new_zeros(short, gate.shape[1])])
    count = len(content) // rate
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate

# %% wrong: numbers instead of a bool mask
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, 1.0 * (numbers < (tokens[:, None] + 1) // rate)

# %% wrong: a sum
import torch


def compress(content, gate, bias):
    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate
