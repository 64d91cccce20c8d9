"""Series, volumes and text take the same path as images: train, compress, deploy."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data, dpg
from deepseek_learn.attention import SpatialChannelAttention, attach
from deepseek_learn.deploy import native
from deepseek_learn.profiler import profile
from deepseek_learn.training import Recipe, accuracy, fit, predict
from deepseek_learn.zoo.evaluation import Evaluation
from tests.services import absent

N, GROUPS = 160, 16
RECIPE = Recipe(batch_size=16)


def patterns(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise `[N, *shape]`, in every second item with a ramp along the last axis."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 2
    ramp = torch.linspace(-2, 2, shape[-1])
    noise = torch.randn(N, *shape, generator=generator)
    return noise + labels.reshape(-1, *(1,) * len(shape)) * ramp, labels


def convolutional(dims: int) -> nn.Module:
    """A small network of two convolutions with spatial-channel attention."""
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    norm = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dims]
    pool, width = {1: (nn.AvgPool1d(8), 4), 3: (nn.AvgPool3d((2, 3, 4)), 8)}[dims]
    body = nn.Sequential(
        *(conv(2, 16, 3, padding=1), norm(16), nn.ReLU()),
        *(conv(16, 16, 3, padding=1), norm(16), nn.ReLU()),
    )
    head = [pool, nn.Flatten(), nn.Linear(16 * width, 2)]
    return attach(nn.Sequential(body, *head), "sc", where="0")


def series():
    x, y = patterns(2, 32)
    return data.SeriesDataset(x, y, groups=np.arange(N) // 10), convolutional(1)


def volumes():
    x, y = patterns(2, 4, 6, 8)
    return data.VolumeDataset(x, y, groups=np.arange(N) // 10), convolutional(3)


class Classifier(nn.Module):
    """A bag of embedded tokens, then two layers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(256, 32)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(1))  # [B, T] → [B, T, 32] → [B, 2]


def texts():
    words = ["spring rain falls on the river", "autumn wind blows over hills"]
    documents = [f"{words[i % 2]} {i % 7}" for i in range(N)]
    labels = [i % 2 for i in range(N)]
    return data.TextDataset.from_documents(documents, labels, length=40), Classifier()


KINDS = {"series": series, "volume": volumes, "text": texts}


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """A kind's dataset in three parts by group, and a network trained on it."""
    torch.manual_seed(0)
    dataset, model = KINDS[request.param]()
    assert dataset.kind == request.param
    parts = data.split(dataset, stratify=dataset.labels)
    run = fit(
        model,
        parts[0],
        epochs=12,
        recipe=RECIPE,
        validation=parts[1],
        progress=False,
    )
    assert run.history["metric"].max() > 0.9
    return parts, model.eval()


def test_predict_is_the_model_on_every_item(trained):
    (_, _, test), model = trained
    logits, labels = predict(model, test, batch_size=7)
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(test.batch()[0]), rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, test.labels)
    assert accuracy(logits, labels) > 0.9


def test_compressed_by_dpg_saved_and_loaded(trained, tmp_path):
    (train, _, test), model = trained
    batches = list(train.batch()[0].split(16))
    result = dpg.compress(model, batches, bits=8, progress=False)
    x = test.batch()[0]
    with torch.inference_mode():
        expected, logits = model(x), result.model(x)
    # 8 bits: a weight is off by at most half of 1/127 of its row's largest
    assert (logits - expected).abs().max() < 0.05 * expected.abs().max()
    packed = [m for m in result.model.modules() if type(m).__name__.startswith("DPG")]
    assert len(packed) >= 3
    path = dpg.save(result.model, tmp_path / "small.safetensors")
    loaded = dpg.load(path, model)
    with torch.inference_mode():
        assert torch.equal(loaded(x), logits)


@pytest.mark.slow
def test_evaluated_calibrated_and_deployed_as_int8(
    trained, tmp_path, short_measurements
):
    try:
        native.compiled("onnxruntime")
    except native.BuildError as error:
        absent(str(error))
    (train, validation, test), model = trained
    calibration = train.batch()[0]
    evaluation = Evaluation(calibration, validation, test, accuracy)
    batches = calibration.split(16)
    wizard = DeploymentWizard(model, batches[0][:2], batches, evaluation.metric)
    deployment = wizard.to("cpp-cpu", tmp_path / "deployed", progress=False)
    assert deployment.precision == "int8"
    assert deployment.guard.loss < 1
    assert deployment.guard.layers
    assert deployment["check"] < 0.01  # the engine answers as ONNX Runtime did


@pytest.mark.slow
def test_the_compressed_network_is_exported_too(trained):
    (train, validation, test), model = trained
    batches = list(train.batch()[0].split(16))
    small = dpg.compress(model, batches, bits=8, progress=False).model
    evaluation = Evaluation(train.batch()[0], validation, test, accuracy)
    wizard = DeploymentWizard(small, batches[0][:2], batches, evaluation.metric)
    assert wizard.same < 1e-4


@pytest.mark.parametrize("space", [(32,), (9, 8), (4, 6, 8)])
def test_the_profiler_counts_what_attention_costs(space):
    batch, channels, hidden, dims = 2, 16, 2, len(space)
    module = SpatialChannelAttention(channels, dims=dims)
    x = torch.rand(batch, channels, *space)
    report = profile(module, x, repeats=1, progress=False)
    spatial = x.numel() * 3**dims  # one output channel, a tap for each shift
    channel = 2 * batch * channels * hidden  # two linear layers on the mean
    assert report.macs == spatial + channel
    assert not len(report.uncounted)


def test_a_series_leaks_only_through_its_groups():
    dataset, _ = series()
    frame = pd.DataFrame({"turbine": dataset.groups})
    assert len(frame["turbine"].unique()) == GROUPS

    def fit_and_score(train, validation, test) -> float:
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        fit(model, train, epochs=2, recipe=RECIPE, progress=False)
        return accuracy(*predict(model, test))

    report = data.leak(dataset, fit_and_score, seeds=[0, 1], stratify=dataset.labels)
    assert len(report.scores) == 2
