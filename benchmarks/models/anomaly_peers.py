"""anomalib's detectors on our images, in an environment of their own.

    python benchmarks/models/anomaly_peers.py NAME BACKBONE.pt IN.npz OUT.npz

IN holds `train` and `test`, float32 `[N, H, W]` from 0 to 1; OUT gets `scores` `[N]`,
`maps` `[N, H, W]`, `fit_s` and `ms` (per image). BACKBONE is EfficientNet-Lite0 with its
ImageNet weights, handed in because anomalib fetches backbones from a hub. The settings
are those of anomalib 2.7: PatchCore with 10 % of the patches and 9 neighbors, PaDiM with
100 of the channels, DFM with 97 % of the variance, STFPM with SGD (0.4, momentum 0.9, decay
1e-4) for 60 epochs, a batch of 32.
"""

import copy
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from anomalib.models.components import TimmFeatureExtractor
from anomalib.models.image.dfm.torch_model import DFMModel
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.models.image.stfpm.loss import STFPMLoss
from anomalib.models.image.stfpm.torch_model import STFPMModel

FINE = ["stages.2", "stages.4"]  # strides 8 and 16, as layer2 and layer3 of a ResNet
ALL = ["stages.1", "stages.2", "stages.4"]
BATCH, EPOCHS = 32, 60


def patchcore(backbone, batches):
    model = PatchcoreModel(FINE, backbone, num_neighbors=9).train()
    model.feature_extractor.eval()
    for batch in batches:
        model(batch)
    model.subsample_embedding(0.1)
    return model


def padim(backbone, batches):
    model = PadimModel(backbone, ALL, n_features=100).train()
    model.feature_extractor.eval()
    for batch in batches:
        model(batch)
    model.fit()
    return model


def stfpm(backbone, batches):
    model = STFPMModel(ALL, backbone)
    student = copy.deepcopy(backbone).requires_grad_()  # the teacher's is frozen
    for module in student.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model.student_model = TimmFeatureExtractor(student, ALL, False, requires_grad=True)
    settings = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 1e-4}
    optimizer = torch.optim.SGD(model.student_model.parameters(), 0.4, **settings)
    loss = STFPMLoss()
    model.train()
    model.teacher_model.eval()
    for _ in range(EPOCHS):
        for batch in batches:
            optimizer.zero_grad()
            loss(*model(batch)).backward()
            optimizer.step()
    return model


def dfm(backbone, batches):
    model = DFMModel(backbone, "stages.4").train()
    model.feature_extractor.eval()
    for batch in batches:
        model(batch)
    model.fit()
    return model


MODELS = {"PatchCore": patchcore, "PaDiM": padim, "DFM": dfm, "STFPM": stfpm}


def main(name: str, backbone: str, source: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = np.load(source)
    train, test = (torch.from_numpy(data[k])[:, None] for k in ("train", "test"))
    # EfficientNet-Lite0 takes colors from -1 to 1
    train, test = (2 * x.expand(-1, 3, -1, -1) - 1 for x in (train, test))
    network = torch.load(backbone, weights_only=False)
    start = time.perf_counter()
    model = MODELS[name](network, train.split(BATCH)).eval()
    fit_s, scores, maps = time.perf_counter() - start, [], []
    start = time.perf_counter()
    with torch.inference_mode():
        for image in test.split(1):
            answer = model(image)
            anomaly = answer.anomaly_map.reshape(1, 1, *answer.anomaly_map.shape[-2:])
            maps.append(F.interpolate(anomaly, test.shape[2:], mode="bilinear")[0, 0])
            scores.append(float(answer.pred_score.max()))
    ms = 1e3 * (time.perf_counter() - start) / len(test)
    np.savez(out, scores=scores, maps=torch.stack(maps).numpy(), fit_s=fit_s, ms=ms)


if __name__ == "__main__":
    main(*sys.argv[1:])
