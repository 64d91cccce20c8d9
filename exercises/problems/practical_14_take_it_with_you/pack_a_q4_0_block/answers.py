"""Answers to `pack_a_q4_0_block`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np
import torch


def block(weights):
    ...

# %% solution
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% right: with struct and a loop
import struct


def block(weights):
    w = weights.tolist()
    d = max(w, key=abs) / -8
    q = [min(15, int(x / d + 8.5)) if d else 8 for x in w]
    return struct.pack("<e", d) + bytes(a + 16 * b for a, b in zip(q[:16], q[16:]))

# %% right: codes from the rounded scale, as a bytearray
import numpy as np


def block(weights):
    w = weights.double().numpy()
    d = np.float16(w[np.abs(w).argmax()] / -8)
    q = np.zeros(32) if d == 0 else np.clip(np.rint(w / float(d)), -8, 7) + 8
    low, high = q.reshape(2, 16).astype("u1")
    return bytearray(d.tobytes()) + bytearray((low + 16 * high).astype("u1").tobytes())

# %% wrong: neighbors in one byte
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[0::2] | (q[1::2] << 4)).tobytes()

# %% wrong: high four bits first
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[16:] | (q[:16] << 4)).tobytes()

# %% wrong: a scale that is never negative
import numpy as np
import torch


def block(weights):
    d = weights.abs().max() / 8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: divided by 8 instead of -8
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / 8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: a symmetric range of 7
import numpy as np
import torch


def block(weights):
    d = weights.abs().max() / 7
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: the scale in float32
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float32(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: big-endian
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    scale = np.array(d, ">f2").tobytes()
    return scale + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: the scale last
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return (q[:16] | (q[16:] << 4)).tobytes() + np.float16(d).tobytes()

# %% wrong: cut off instead of rounded
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    return np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: divides by a scale of 0
import numpy as np


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = [min(15, round(float(w) / float(d)) + 8) for w in weights]
    q = np.array(q, np.uint8)
    return np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()

# %% wrong: returns an array
import numpy as np
import torch


def block(weights):
    d = weights[weights.abs().argmax()] / -8
    q = (weights / d + 8).round().clamp(max=15) if d else torch.zeros(32)
    q = q.numpy().astype(np.uint8)
    raw = np.float16(d).tobytes() + (q[:16] | (q[16:] << 4)).tobytes()
    return np.frombuffer(raw, np.uint8)
