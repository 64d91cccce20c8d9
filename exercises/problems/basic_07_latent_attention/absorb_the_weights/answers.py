"""Answers to `absorb_the_weights`: the starter, right ones and wrong ones."""

# %% starter
import torch


def attend(q, r, latents, shared, key_up, value_up):
    ...

# %% solution
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5
    read = scores.softmax(1) @ latents
    return torch.einsum("hc,hvc->hv", read, value_up)

# %% right: head by head, in float64
import torch


def attend(q, r, latents, shared, key_up, value_up):
    q, r, latents, shared = q.double(), r.double(), latents.double(), shared.double()
    rows = []
    for h in range(len(q)):
        scores = latents @ (key_up[h].double().T @ q[h]) + shared @ r[h]
        shares = torch.softmax(scores / (q.shape[1] + r.shape[1]) ** 0.5, 0)
        rows.append(value_up[h].double() @ (shares @ latents))
    return torch.stack(rows)

# %% wrong: keys and values formed, head by head
import torch


def attend(q, r, latents, shared, key_up, value_up):
    rows = []
    for h in range(len(q)):
        keys, values = latents @ key_up[h].T, latents @ value_up[h].T
        scores = keys @ q[h] + shared @ r[h]
        shares = (scores / (q.shape[1] + r.shape[1]) ** 0.5).softmax(0)
        rows.append(shares @ values)
    return torch.stack(rows)

# %% wrong: keys and values formed
import torch


def attend(q, r, latents, shared, key_up, value_up):
    keys = torch.einsum("sc,hnc->hsn", latents, key_up)
    values = torch.einsum("sc,hvc->hsv", latents, value_up)
    scores = torch.einsum("hn,hsn->hs", q, keys) + r @ shared.T
    shares = (scores / (q.shape[1] + r.shape[1]) ** 0.5).softmax(1)
    return torch.einsum("hs,hsv->hv", shares, values)

# %% wrong: keys and values formed in NumPy
import torch


def attend(q, r, latents, shared, key_up, value_up):
    import numpy as np

    latents, key_up, value_up = latents.numpy(), key_up.numpy(), value_up.numpy()
    keys = torch.from_numpy(np.einsum("sc,hnc->hsn", latents, key_up))
    values = torch.from_numpy(np.einsum("sc,hvc->hsv", latents, value_up))
    scores = torch.einsum("hn,hsn->hs", q, keys) + r @ shared.T
    shares = (scores / (q.shape[1] + r.shape[1]) ** 0.5).softmax(1)
    return torch.einsum("hs,hsv->hv", shares, values)

# %% wrong: values formed
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5
    values = torch.einsum("sc,hvc->hsv", latents, value_up)
    return torch.einsum("hs,hsv->hv", scores.softmax(1), values)

# %% wrong: not scaled
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    read = scores.softmax(1) @ latents
    return torch.einsum("hc,hvc->hv", read, value_up)

# %% wrong: scaled without the rotary part
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    scores = scores / q.shape[1] ** 0.5
    read = scores.softmax(1) @ latents
    return torch.einsum("hc,hvc->hv", read, value_up)

# %% wrong: no rotary part
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T
    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5
    read = scores.softmax(1) @ latents
    return torch.einsum("hc,hvc->hv", read, value_up)

# %% wrong: softmax over the heads
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5
    read = scores.softmax(0) @ latents
    return torch.einsum("hc,hvc->hv", read, value_up)

# %% wrong: the latents averaged, not expanded
import torch


def attend(q, r, latents, shared, key_up, value_up):
    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5
    read = scores.softmax(1) @ latents
    return read
