"""Packed precision: a compressed model is as small in its file, and as exact."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from deepseek_learn import DeploymentWizard, dpg
from deepseek_learn.deploy import ExportError, export, runtimes
from deepseek_learn.deploy.packed_weights import with_packed_weights
from deepseek_learn.deploy.packing import packed_form

LEVELS = {"default": (2, 3, 4, 5, 6, 8), "exact": (2, 4, 6, 8)}


class Language(nn.Module):
    """An embedding of odd sizes, with a head that may be tied to it."""

    def __init__(self, tied=False, vocabulary=203, width=70):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.wide = nn.Linear(width, 150)
        self.narrow = nn.Linear(150, width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.embedding.weight = self.head.weight

    def forward(self, x):
        y = self.embedding(x)
        return self.head(y + self.narrow(torch.relu(self.wide(y))))


def pictures():
    return nn.Sequential(
        nn.Conv2d(3, 33, 3, padding=1, bias=False),
        nn.BatchNorm2d(33),
        nn.ReLU(),
        nn.Conv2d(33, 33, 3, padding=1, groups=33),
        nn.ReLU(),
        nn.Conv2d(33, 64, (3, 1), stride=2, padding="valid", dilation=(2, 1)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 40),
    )


def trained(model):
    """A batch normalization that scales, as training leaves it."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                nn.init.uniform_(values, 0.5, 2)
            for values in (layer.bias, layer.running_mean):
                nn.init.normal_(values)
    return model.eval()


MODELS = {
    "language": (Language, torch.randint(0, 203, (3, 9))),
    "tied": (lambda: Language(tied=True), torch.randint(0, 203, (3, 9))),
    "pictures": (pictures, torch.randn(3, 3, 17, 12)),
    "signals": (
        lambda: nn.Sequential(
            nn.Conv1d(5, 48, 7, padding="same"), nn.Flatten(), nn.Linear(960, 9)
        ),
        torch.randn(3, 5, 20),
    ),
    "volumes": (lambda: nn.Sequential(nn.Conv3d(2, 20, 3)), torch.randn(2, 2, 5, 6, 7)),
    "even": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, groups=32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(576, 64),
        ),
        torch.randn(3, 3, 12, 12),
    ),
    "one layer": (lambda: nn.Linear(70, 37), torch.randn(4, 70)),
}


def compressed(name, levels=LEVELS["default"], refine=False, bits=4.5):
    torch.manual_seed(0)
    make, x = MODELS[name]
    model = trained(make())
    calibration = dpg.calibrate(model, [x])
    allocation = dpg.allocate(model, calibration, bits, levels=levels)
    return dpg.convert(model, allocation, calibration, refine=refine), x


def packed(model, x, **options):
    form, convolutions = packed_form(model)
    return with_packed_weights(export.to_onnx(form, x, **options), convolutions)


@pytest.mark.slow
@pytest.mark.parametrize("refine", [False, True], ids=["base", "refined"])
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("name", MODELS)
def test_runtimes_answer_as_the_packed_model(name, levels, refine):
    model, x = compressed(name, LEVELS[levels], refine)
    proto = packed(model, x)
    onnx.checker.check_model(proto)
    for run in (runtimes.runner, runtimes.openvino_runner):
        for batch in (x, x[:1]):  # the number of samples is free
            with torch.no_grad():
                want = export.plain_form(model)(batch).numpy()
            (got,) = run(proto)(batch)
            assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("bits", dpg.codes.BITS)
def test_every_bit_width_is_stored_in_no_more_than_its_next_even_one(bits):
    layer = nn.Linear(256, 64, bias=False)
    model = dpg.convert(layer, dpg.uniform(layer, bits=bits))
    form, _ = packed_form(model)
    (term, *more) = form.rows.terms
    stored = sum(each.codes.nbytes for each in (term, *more))
    assert 8 * stored == layer.weight.numel() * (bits + bits % 2)
    x = torch.randn(5, 256)
    (got,) = runtimes.runner(packed(model, x))(x)
    torch.testing.assert_close(torch.from_numpy(got), model.plain()(x))


def test_no_weight_is_left_in_float():
    model, x = compressed("pictures")
    proto = packed(model, x)
    sizes = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    floats = [n for n, a in sizes.items() if a.dtype == np.float32 and a.size > 64]
    # the grouped convolution is not compressed; a batch normalization multiplies scales
    assert all(n == "3.weight" or n.endswith(".scale") for n in floats), floats


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["default", "exact"])
def test_the_file_is_hardly_larger_than_the_packed_model(kind):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(16, 256, 3),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3),
        nn.Flatten(),
        nn.Linear(4096, 256),
    ).eval()
    x = torch.randn(2, 16, 8, 8)
    calibration = dpg.calibrate(model, [x])
    allocation = dpg.allocate(model, calibration, 4.5, levels=LEVELS[kind])
    small = dpg.convert(model, allocation, calibration)
    size = packed(small, x).ByteSize()
    assert size < 1.15 * dpg.bytes_of(small) < 0.2 * dpg.bytes_of(model)


def test_tied_rows_are_stored_once():
    model, x = compressed("tied", LEVELS["exact"])
    proto = packed(model, x)
    arrays = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    codes = sum(a.nbytes for n, a in arrays.items() if n.endswith(".codes"))
    planes = sum(
        b.nbytes
        for n, b in model.state_dict().items()
        if "plane" in n and "embedding" not in n
    )
    assert 0 < codes <= planes


def test_a_sequence_may_have_any_length():
    model, x = compressed("language")
    proto = packed(model, x, sequence_axis=1)
    (got,) = runtimes.runner(proto)(x[:2, :4])
    with torch.no_grad():
        want = export.plain_form(model)(x[:2, :4]).numpy()
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


def test_bits_that_are_not_read_are_not_dropped():
    model, _ = compressed("language", bits=6)
    dpg.set_precision(model, max_bits=4)
    with pytest.raises(ExportError, match=r"reads 4 of \d; call dpg.set_precision"):
        packed_form(model)
    assert packed_form(dpg.set_precision(model, max_bits=8))


def test_a_model_in_lower_refinement_is_deployed_without_it():
    model, x = compressed("language", refine=True)
    whole = packed(model, x).ByteSize()
    dpg.set_precision(model, refined=False)
    proto = packed(model, x)
    assert proto.ByteSize() < 0.7 * whole
    with torch.no_grad():
        want = export.plain_form(model)(x).numpy()
    (got,) = runtimes.runner(proto)(x)
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


def closeness(model, inputs):
    """The part of the outputs that is as it was, in points."""
    with torch.no_grad():
        want = export.plain_form(model)(inputs)

    def metric(predict):
        error = torch.as_tensor(predict(inputs)) - want
        return 100 - 100 * float(error.square().sum() / want.square().sum())

    return metric


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("target", ["cpp-cpu", "openvino"])
def test_the_wizard_deploys_packed_models(target, tmp_path):
    model, x = compressed("even")
    inputs = torch.randn(64, 3, 12, 12)
    wizard = DeploymentWizard(model, x[:1], [inputs], closeness(model, inputs))
    done = {}
    for precision in ("packed", "packed_int8", "fp32"):
        folder = tmp_path / precision
        done[precision] = wizard.to(
            target, folder, precision=precision, loss=0.99, progress=False
        )
    exact, integers = done["packed"], done["packed_int8"]
    assert max(exact["same"], exact["check"], exact["loss"]) < 1e-4
    assert exact["unpacked"] is None
    assert "unpacked" not in exact.why()
    assert done["fp32"]["unpacked"] == 3
    assert exact["size"] < 0.3 * done["fp32"]["size"]
    # convolutions in INT8, whose weights are computed from the codes: a little more than
    # the codes, since each activation has a scale
    assert integers["size"] < exact["size"] + 0.01
    assert integers.guard.layers == ("0", "2", "4")
    kinds = [
        node.op_type
        for node in onnx.load(tmp_path / "packed_int8/model.onnx").graph.node
    ]
    assert "MatMulNBits" in kinds
    assert kinds.count("QuantizeLinear") >= 3


@pytest.mark.parametrize("target", ["nvidia-a100", "ascend-910b", "amd-mi300"])
def test_kits_that_cannot_run_it_say_so_before_they_build(target, tmp_path):
    model, x = compressed("one layer")
    with pytest.raises(
        ValueError, match=f"{target} has no operator for packed weights"
    ):
        DeploymentWizard(model, x).to(target, tmp_path / "out", precision="packed")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_packed_is_refused(tmp_path):
    model, x = compressed("one layer")
    options = {"progress": False, "out": tmp_path / "out", "target": "cpp-cpu"}
    with pytest.raises(ExportError, match="Linear has no packed layer"):
        DeploymentWizard(nn.Linear(70, 4), x).to(precision="packed", **options)
    wizard = DeploymentWizard(model, x, [x], lambda predict: 50.0)
    with pytest.raises(ValueError, match="this model has none; use 'packed'"):
        wizard.to(precision="packed_int8", **options)
    file = tmp_path / "model.onnx"
    file.write_bytes(export.to_onnx(nn.Linear(70, 4), x).SerializeToString())
    with pytest.raises(ExportError, match=r"model\.onnx is an \.onnx file"):
        DeploymentWizard(file, x).to(precision="packed", **options)
    with pytest.raises(ValueError, match="packed_int8 needs calibration and metric"):
        DeploymentWizard(model, x).to(precision="packed_int8", **options)
    assert not (tmp_path / "out").exists()


def test_another_weight_in_the_file_is_noticed():
    model, x = compressed("volumes")
    form, convolutions = packed_form(model)
    with torch.no_grad():
        form[0].weight.add_(0.01)
    proto = export.to_onnx(form, x)
    with pytest.raises(ExportError, match="layer '0' is exported with another weight"):
        with_packed_weights(proto, convolutions)


def test_a_graph_with_a_loop_keeps_what_the_loop_reads(tmp_path):
    net = nn.Sequential(nn.EmbeddingBag(101, 40), nn.Linear(40, 64), nn.Linear(64, 5))
    ids = torch.randint(101, (4, 7))
    small = dpg.compress(net.eval(), [ids], bits=4).model
    wizard = DeploymentWizard(small, ids)
    made = wizard.to("cpp-cpu", tmp_path / "bag", precision="packed", progress=False)
    assert made["same"] < 1e-4


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_layer_with_two_names_is_stored_once(kind, tmp_path):
    layer = nn.Linear(64, 64) if kind == "linear" else nn.Conv2d(32, 32, 3, padding=1)
    net = nn.Sequential(*[layer, nn.Tanh()] * 3).eval()
    x = torch.rand(2, 64) if kind == "linear" else torch.rand(2, 32, 8, 8)
    small = dpg.compress(net, [x], bits=4).model
    plain = export.to_onnx(small, x)
    assert len(plain.SerializeToString()) < 1.1 * 4 * layer.weight.numel() + 4000
    made = DeploymentWizard(small, x).to(
        "cpp-cpu", tmp_path / "kit", precision="packed", progress=False
    )
    assert made["same"] < 1e-4
    size = (made.folder / "model.onnx").stat().st_size
    assert size < dpg.bytes_of(small) + 6000


def test_a_model_in_half_precision_is_told_to_be_float():
    net = nn.Sequential(nn.Embedding(101, 64), nn.LayerNorm(64), nn.Linear(64, 64))
    ids = torch.randint(101, (4, 7))
    small = dpg.compress(net.eval().bfloat16(), [ids], bits=4).model
    with pytest.raises(ExportError, match=r"is torch\.bfloat16: call model\.float\(\)"):
        export.to_onnx(small, ids)
    export.to_onnx(small.float(), ids)
