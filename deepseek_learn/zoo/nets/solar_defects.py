"""The solar-cell defect classifier: EfficientNet-Lite0 with SC-attention."""

from ...attention import attach
from .efficientnet_lite import EfficientNetLite

# after the stages at stride 8, 16 and 32 (40, 112 and 320 channels)
ATTENDED = ["stages.2", "stages.4", "stages.6"]


def solar_defects(backbone: EfficientNetLite | None = None) -> EfficientNetLite:
    """Build the classifier: `[B, 1, H, W]` in 0..1 → logits `[B, 2]`.

    The two classes are functional and defective.

    Args:
        backbone: a network with one input channel and two classes, pretrained or not;
            by default, a new one.

    The zoo's model was trained on 288 x 288 pixels. The attention starts as the
    identity, so that the ImageNet backbone is unchanged at the start of training.
    """
    backbone = backbone or EfficientNetLite(num_classes=2, in_channels=1)
    return attach(backbone, "sc", where=ATTENDED, identity=True)
