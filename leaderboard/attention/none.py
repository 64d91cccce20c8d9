"""The reference: the plain trunk."""

from torch import nn

from deepseek_learn import attention


@attention.register("none", dims=(2,), native_scale=1.0)
class Nothing(nn.Identity):
    def __init__(self, channels):
        super().__init__()
