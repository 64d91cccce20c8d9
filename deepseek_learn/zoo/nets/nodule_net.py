"""A 3-D U-Net that marks the centers of lung nodules in a CT volume.

Sources: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI; Zhou et al. 2019, "Objects as Points", arXiv (CenterNet).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...attention import attach

STRIDE = 2  # voxels per cell of the output
UNIT = 8  # sizes of volumes are multiples of it
UNIT_MM = 8.0  # the network predicts log(diameter / 8 mm)
RARE = -4.6  # initial logit of "center": a probability of 1 %
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm3d,
    "group": lambda channels: nn.GroupNorm(8, channels),
}
ATTENDED = ("down.0", "down.1", "down.2", "up.0", "up.1")


class ConvBlock(nn.Sequential):
    """Two 3x3x3 convolutions, each followed by a norm and ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, norm: str = "batch"):
        layers: list[nn.Module] = []
        for channels, step in ((c_in, stride), (c_out, 1)):
            conv = nn.Conv3d(channels, c_out, 3, stride=step, padding=1, bias=False)
            layers += [conv, NORMS[norm](c_out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class NoduleNet(nn.Module):
    """A detector that predicts a heat map of centers, as CenterNet does.

    It maps volumes of shape `[B, 1, D, H, W]` with values from 0 to 1 and voxels of 1 mm
    to `[B, 5, D/2, H/2, W/2]`: the logit of "a center is here", log(diameter / 8 mm), and
    the offsets (z, y, x) of the center from the cell's, in cells. D, H and W must be
    multiples of 8. Eight neighboring voxels become eight channels first, which spares the
    highest resolution.

    Args:
        widths: the numbers of channels at the three resolutions, multiples of 8.
        attention: the name of the attention module; None for none.
        norm: "batch", or "group", whose output does not depend on other examples but
            does depend on the size of the volume.

    Raises:
        ValueError: if `norm` is unknown or, in `forward`, if a size is not a multiple of 8.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (24, 48, 96),
        attention: str | None = "sc",
        norm: str = "batch",
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}.")
        a, b, c = widths
        down = ((8, a, 1), (a, b, 2), (b, c, 2))
        self.down = nn.ModuleList([ConvBlock(i, o, step, norm) for i, o, step in down])
        up = ((b + c, b), (a + b, a))
        self.up = nn.ModuleList([ConvBlock(i, o, 1, norm) for i, o in up])
        self.head = nn.Conv3d(a, 5, 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.zero_()[0] = RARE  # type: ignore[union-attr]
        if attention is not None:
            attach(self, attention, where=list(ATTENDED), identity=True)

    def forward(self, x: Tensor) -> Tensor:
        if any(size % UNIT for size in x.shape[-3:]):
            raise ValueError(
                f"x must have sizes that are multiples of {UNIT}; got {list(x.shape)}."
            )
        fine = self.down[0](cells(x))  # [B, a, D/2, H/2, W/2]
        middle = self.down[1](fine)  # [B, b, D/4, H/4, W/4]
        coarse = self.down[2](middle)  # [B, c, D/8, H/8, W/8]
        for block, skip in zip(self.up, (middle, fine), strict=True):
            coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
            coarse = block(torch.cat([coarse, skip], 1))
        return self.head(coarse)


def cells(x: Tensor) -> Tensor:
    """Turn blocks of 2x2x2 voxels into channels: `[B, 1, D, H, W]` → `[B, 8, D/2, ...]`."""
    b, _, d, h, w = x.shape
    x = x.view(b, d // 2, 2, h // 2, 2, w // 2, 2)
    return x.permute(0, 2, 4, 6, 1, 3, 5).reshape(b, 8, d // 2, h // 2, w // 2)


def nodule_net() -> NoduleNet:
    """Build the zoo's nodule detector."""
    return NoduleNet()
