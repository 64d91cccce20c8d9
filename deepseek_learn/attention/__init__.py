"""Spatial-channel attention and other attention modules for convolutional networks.

Lesson: `notebooks/basic/01_spatial_channel_attention.ipynb`.
"""

from .attach import WithAttention, attach, attention_maps
from .families import ProjectExcite, SelfAttention, create, names, register
from .fold import fold
from .spatial_channel import SpatialChannelAttention, shift_sum

__all__ = [
    "ProjectExcite",
    "SelfAttention",
    "SpatialChannelAttention",
    "WithAttention",
    "attach",
    "attention_maps",
    "create",
    "fold",
    "names",
    "register",
    "shift_sum",
]
