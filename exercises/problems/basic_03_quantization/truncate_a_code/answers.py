"""Answers to `truncate_a_code`: the starter, right ones and wrong ones."""

# %% starter


def read_high(codes, scale):
    ...

# %% wrong: without the midpoint offset


def read_high(codes, scale):
    return scale * (16 * (codes >> 4).float() - 128)

# %% wrong: 8 instead of 7.5


def read_high(codes, scale):
    return scale * (16 * (codes >> 4).float() + 8 - 128)

# %% wrong: a 4-bit code at the old scale


def read_high(codes, scale):
    return scale * ((codes >> 4).float() + 7.5 / 16 - 8)

# %% wrong: all eight bits


def read_high(codes, scale):
    return scale * (codes.float() - 128)

# %% wrong: the low four bits


def read_high(codes, scale):
    return scale * (16 * (codes & 15).float() + 7.5 - 128)

# %% wrong: subtracted in uint8


def read_high(codes, scale):
    return scale * ((16 * (codes >> 4) - 128) + 7.5)

# %% wrong: rounded to the nearest 4-bit code


def read_high(codes, scale):
    high = ((codes.float() + 8) / 16).floor().clamp(max=15)
    return scale * (16 * high - 128)

# %% wrong: in float64


def read_high(codes, scale):
    high = (codes >> 4).double()
    return scale.double() * (16 * high + 7.5 - 128)

# %% wrong: one scale for all rows


def read_high(codes, scale):
    return scale[0] * (16 * (codes >> 4).float() + 7.5 - 128)

# %% wrong: shifted in place


def read_high(codes, scale):
    codes >>= 4
    return scale * (16 * codes.float() + 7.5 - 128)
