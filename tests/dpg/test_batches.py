"""Calibration batches of detectors, which take lists of images."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg.batches import input_of

CLASSES = 5


class Detector(nn.Module):
    """A detector with the calling convention of torchvision's.

    In evaluation mode, it takes a list of images `[3, H, W]` of different sizes, and
    returns one dictionary per image with its boxes, labels, and scores.
    """

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.classes = nn.Conv2d(32, CLASSES, 1)
        self.boxes = nn.Conv2d(32, 4, 1)

    def forward(self, images, targets=None):
        if not isinstance(images, list | tuple) or any(x.dim() != 3 for x in images):
            raise ValueError("images is expected to be a list of 3d tensors [C, H, W]")
        assert not self.training
        height, width = (max(x.shape[i] for x in images) for i in (1, 2))
        sizes = [(width - x.shape[2], height - x.shape[1]) for x in images]
        batch = torch.stack(
            [F.pad(x, (0, w, 0, h)) for x, (w, h) in zip(images, sizes, strict=True)]
        )  # [B, 3, H, W]
        maps = self.backbone(batch)
        logits = self.classes(maps).flatten(2).transpose(1, 2)  # [B, H W / 16, classes]
        boxes = self.boxes(maps).flatten(2).transpose(1, 2)
        detections = []
        for row, corners in zip(logits, boxes, strict=True):
            scores, labels = row.softmax(-1).max(-1)
            best = scores.topk(6).indices
            detections.append(
                {"boxes": corners[best], "labels": labels[best], "scores": scores[best]}
            )
        return detections


def logits(model, images):
    """The logits of each detection and of its absence, `[detections, 2]`."""
    scores = torch.cat([each["scores"] for each in model(images)])
    return torch.stack([scores.log(), (1 - scores).log()], -1)


def pictures(seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(24, 32), (32, 24), (20, 20), (32, 32)]
    return [torch.rand(3, *size, generator=generator) for size in sizes]


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return Detector().eval()


def ways():
    """The batches as data loaders for detection yield them, and without targets."""
    images, others = pictures(), pictures(1)
    targets = [{"boxes": torch.zeros(1, 4), "labels": torch.ones(1)}] * 4
    return {
        "tuples of a collate function": [
            (tuple(images), tuple(targets)),
            (tuple(others), tuple(targets)),
        ],
        "lists": [[images, targets], [others, targets]],
        "without targets": [(images,), (others,)],
        "mappings": [{"images": images}, {"images": others}],
        "a generator": ((each, targets) for each in (images, others)),
    }


@pytest.mark.parametrize("way", ways())
def test_a_detector_is_calibrated_on_lists_of_images(detector, way):
    def of(model, batch):
        return logits(model, batch["images"] if isinstance(batch, dict) else batch)

    calibration = dpg.calibrate(detector, ways()[way], logits=of)
    assert calibration.samples == 8  # images, not batches
    layers = calibration.layers
    assert set(layers) == {"backbone.0", "backbone.2", "classes"}  # boxes have no loss
    # the same as for one tensor of padded images
    padded = [
        torch.stack([F.pad(x, (0, 32 - x.shape[2], 0, 32 - x.shape[1])) for x in each])
        for each in (pictures(), pictures(1))
    ]
    expected = dpg.calibrate(detector, padded, logits=lambda m, x: logits(m, list(x)))
    for name, facts in expected.layers.items():
        assert torch.equal(layers[name].second_moment, facts.second_moment)
        assert torch.equal(layers[name].gradient, facts.gradient)
        assert facts.gradient.sum() > 0


def test_a_compressed_detector_detects_nearly_the_same(detector):
    batches = [(pictures(seed),) for seed in range(8)]
    small = dpg.compress(detector, batches, bits=6, logits=logits).model
    with torch.no_grad():
        expected, detections = detector(pictures(9)), small(pictures(9))
    for one, other in zip(expected, detections, strict=True):
        torch.testing.assert_close(other["scores"], one["scores"], rtol=0, atol=0.02)


def test_an_image_without_detections_adds_nothing(detector):
    def few(model, images):
        return logits(model, images)[:0]

    gradients = dpg.calibrate(detector, [(pictures(),)], logits=few).layers
    assert not any(facts.gradient.any() for facts in gradients.values())


def test_without_logits_a_detector_gets_a_sentence(detector):
    with pytest.raises(TypeError, match=r"got a list\. Pass logits= to extract them"):
        dpg.calibrate(detector, [(pictures(),)])


def test_a_cascade_takes_no_lists(detector):
    batches = [(pictures(),)]
    small = dpg.compress(detector, batches, logits=logits, refine=True).model
    with pytest.raises(TypeError, match=r"batches must contain tensors .* got a list"):
        dpg.Cascade(small).calibrate(batches)


def test_the_input_of_a_batch_may_be_a_list_of_tensors():
    one, two = torch.ones(3, 4, 4), torch.zeros(3, 5, 4)
    assert input_of(([one, two], "targets"), nn.ReLU()) == [one, two]
    assert input_of(((one, two),), nn.ReLU()) == [one, two]
    mapping = {"images": (one, two)}
    assert input_of(mapping, nn.ReLU()) is mapping
    # a loader of pairs yields [inputs, labels]
    assert input_of([one, two], nn.ReLU()) is one


@pytest.mark.parametrize(
    "batch", [([], []), ([torch.ones(3), 1.0],), ([["a"]], 1), {"images": []}]
)
def test_lists_of_anything_else_are_refused(batch):
    with pytest.raises(TypeError, match="a list of tensors, or mappings of arguments"):
        input_of(batch, nn.ReLU())


class Pair(nn.Module):
    """Requires two inputs, and may get a third one."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(32, 8), nn.Linear(32, 8)

    def forward(self, a, b, scale=1.0):
        return self.left(a) * scale + self.right(b.flip(0))


def test_a_model_that_requires_two_inputs_gets_two():
    torch.manual_seed(0)
    net, (a, b) = Pair(), torch.randn(2, 16, 32)
    labels = torch.zeros(16)
    calibration = dpg.calibrate(net, [(a, b, labels)])
    assert calibration.samples == 16
    named = dpg.calibrate(net, [{"a": a, "b": b}])
    for name, statistics in named.layers.items():
        moment = calibration.layers[name].second_moment
        assert torch.equal(moment, statistics.second_moment)
    with pytest.raises(TypeError, match="must contain the 2 inputs that Pair requires"):
        dpg.calibrate(net, [(a,)])
    with pytest.raises(TypeError, match=r"got 2 elements, Tensor, str"):
        dpg.calibrate(net, [(a, "label")])
    # `logits` may call the model with an input of its own
    one = dpg.calibrate(net, [(a,)], logits=lambda net, x: net(x, b))
    assert one.samples == 16
