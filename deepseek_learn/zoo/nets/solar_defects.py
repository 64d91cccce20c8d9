"""The solar-cell defect classifier, which is EfficientNet-Lite0 with SC-attention."""

from ...attention import attach
from .efficientnet_lite import EfficientNetLite

# attention is added after the stages at stride 8, 16 and 32 (40, 112, 320 channels)
ATTENDED = ["stages.2", "stages.4", "stages.6"]


def solar_defects(backbone: EfficientNetLite | None = None) -> EfficientNetLite:
    """Build the classifier, which separates functional solar cells from defective ones.

    It maps images of shape `[B, 1, H, W]` with values from 0 to 1 to logits of shape
    `[B, 2]`. The zoo's model was trained on images of 288 x 288 pixels. The attention
    starts as the identity, so training starts from the unchanged ImageNet backbone.

    Args:
        backbone: a network with one input channel and two classes, which may be
            pretrained; by default, a newly initialized one.
    """
    backbone = backbone or EfficientNetLite(num_classes=2, in_channels=1)
    return attach(backbone, "sc", where=ATTENDED, identity=True)
