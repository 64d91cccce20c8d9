"""Answers to `multiply_in_integers`: the starter, right ones and wrong ones."""

# %% starter


def linear_int8(q, s_x, z, w, s_w):
    ...

# %% wrong: no zero point
def linear_int8(q, s_x, z, w, s_w):
    return s_x * (q.astype('int32') @ w.astype('int32').T) * s_w

# %% wrong: no weight scale
def linear_int8(q, s_x, z, w, s_w):
    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T)

# %% wrong: one scale for all rows
def linear_int8(q, s_x, z, w, s_w):
    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T) * s_w[0]

# %% wrong: the mean scale for all rows
def linear_int8(q, s_x, z, w, s_w):
    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T) * s_w.mean()

# %% wrong: sums in 16 bits
def linear_int8(q, s_x, z, w, s_w):
    return s_x * ((q.astype('int16') - z) @ w.astype('int16').T) * s_w

# %% wrong: the scale along the wrong axis
def linear_int8(q, s_x, z, w, s_w):
    total = (q.astype('int32') - z) @ w.astype('int32').T
    return s_x * total * (s_w[:, None] if total.shape[0] == len(s_w) else s_w)

# %% wrong: the scale along the inputs
def linear_int8(q, s_x, z, w, s_w):
    if w.shape[0] == w.shape[1]:
        return s_x * ((q.astype('float64') - z) @ (w * s_w).T)
    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T) * s_w
