"""Answers to `one_byte_a_weight`: the starter, right ones and wrong ones."""

# %% starter
import torch


class OneByte:
    def store(self, m):
        ...

    def load(self):
        ...

# %% solution
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% right: a subclass, row by row
import torch


class Rows:
    def store(self, m):
        self.scale = torch.stack([row.abs().max() for row in m])[:, None] / 127
        safe = torch.where(self.scale > 0, self.scale, torch.ones_like(self.scale))
        self.codes = torch.round(m / safe).clamp(-127, 127).char()

    def load(self):
        return self.scale.mul(self.codes)


class OneByte(Rows):
    pass

# %% wrong: one scale for the whole matrix
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax() / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: one scale, repeated for each row
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax().expand(len(m), 1) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: one scale per column
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(0, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: truncated, not rounded
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: rounded down
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).floor().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: NaN for a row of zeros
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale**2 / self.scale

# %% wrong: the scale inverted
import torch


class OneByte:
    def store(self, m):
        self.scale = 127 / m.abs().amax(1, keepdim=True).clamp_min(1e-30)
        self.codes = (m * self.scale).round().to(torch.int8)

    def load(self):
        return self.codes / self.scale

# %% wrong: an epsilon larger than the scale
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / (self.scale + 1e-8)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: 128 overflows
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 128
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: -128 is used
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 128
        codes = (m / self.scale.clamp_min(1e-30)).round().clamp(-128, 127)
        self.codes = codes.to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: the largest value, not the largest magnitude
import torch


class OneByte:
    def store(self, m):
        self.scale = m.amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: codes not in one byte
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round()

    def load(self):
        return self.codes * self.scale

# %% wrong: the scale forgotten
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes.float()

# %% wrong: the input divided in place
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m.div_(self.scale.clamp_min(1e-30))).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: zero codes beside the original matrix
import torch


class OneByte:
    def store(self, m):
        self.m = m.clone()
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = torch.zeros_like(m, dtype=torch.int8)

    def load(self):
        return self.m

# %% wrong: loading changes the state
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        m = self.codes * self.scale
        self.scale.mul_(2)
        return m

# %% wrong: state kept in the class
import torch


class OneByte:
    def store(self, m):
        OneByte.scale = m.abs().amax(1, keepdim=True) / 127
        OneByte.codes = (m / OneByte.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: an extra copy
import torch


class OneByte:
    def store(self, m):
        self.copy = m.clone()
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: a float64 scale
import torch


class OneByte:
    def store(self, m):
        self.scale = m.double().abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: stores only the first time
import torch


class OneByte:
    def store(self, m):
        if hasattr(self, "codes"):
            return
        self.scale = m.abs().amax(1, keepdim=True) / 127
        self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale

# %% wrong: small rows lost to a clamp
import torch


class OneByte:
    def store(self, m):
        self.scale = m.abs().amax(1, keepdim=True).clamp_min(1e-8) / 127
        self.codes = (m / self.scale).round().to(torch.int8)

    def load(self):
        return self.codes * self.scale
