"""Answers to `mend_the_broadcast`: the starter, right ones and wrong ones."""

# %% starter
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        ...

# %% solution
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        spatial = torch.sigmoid(self.spatial_attn(x))  # [B, 1, H, W]
        channel = self.channel_attn(x)  # [B, C, 1, 1]
        return x * spatial + x * channel

# %% right: the gates added first
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        spatial, channel = self.spatial_attn(x), self.channel_attn(x)
        return (channel + spatial.sigmoid()) * x

# %% right: expanded explicitly, in float64
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        spatial = 1 / (1 + torch.exp(-self.spatial_attn(x))).expand_as(x)
        channel = self.channel_attn(x).flatten(1)[:, :, None, None].double()
        return x * spatial + torch.einsum('bcij,bchw->bchw', channel, x.double())

# %% wrong: the guide's own line
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        spatial = torch.sigmoid(self.spatial_attn(x))
        channel = self.channel_attn(x)
        return x * spatial + x * channel.unsqueeze(-1).unsqueeze(-1)

# %% wrong: the gates multiplied
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * torch.sigmoid(self.spatial_attn(x)) * self.channel_attn(x)

# %% wrong: no sigmoid on the spatial gate
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.spatial_attn(x) + x * self.channel_attn(x)

# %% wrong: the spatial gate computed from the channel-gated input
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        y = x * self.channel_attn(x)
        return x * torch.sigmoid(self.spatial_attn(y)) + y

# %% wrong: without gradients
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        with torch.no_grad():
            gates = torch.sigmoid(self.spatial_attn(x)) + self.channel_attn(x)
        return x * gates

# %% wrong: one gate without its gradient
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        spatial = torch.sigmoid(self.spatial_attn(x))
        return x * (spatial + self.channel_attn(x).detach())

# %% wrong: the gates squeezed
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        channel = self.channel_attn(x).squeeze()
        return x * (torch.sigmoid(self.spatial_attn(x)) + channel)

# %% wrong: overwrites x
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        gates = torch.sigmoid(self.spatial_attn(x)) + self.channel_attn(x)
        return x.mul_(gates.detach())

# %% wrong: the first image's gate for all
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        channel = self.channel_attn(x)[:1]
        return x * (torch.sigmoid(self.spatial_attn(x)) + channel)

# %% wrong: the gate of the mean image
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        channel = self.channel_attn(x.mean(0, keepdim=True))
        return x * (torch.sigmoid(self.spatial_attn(x)) + channel)

# %% wrong: a 5x5 kernel
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=5, padding=2)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * torch.sigmoid(self.spatial_attn(x)) + x * self.channel_attn(x)

# %% wrong: a linear layer in place of a convolution
import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(1, in_channels // 8),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * torch.sigmoid(self.spatial_attn(x)) + x * self.channel_attn(x)
