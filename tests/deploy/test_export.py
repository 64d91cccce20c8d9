"""Export: the same outputs as PyTorch, or one sentence that says why not."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn import zoo
from deepseek_learn.deploy import (
    ExportError,
    OutputMismatchError,
    comparison,
    export,
    to_onnx,
    verify,
)
from deepseek_learn.errors import MissingPackageError
from deepseek_learn.zoo.nets.unet import UNet


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # the branch
            return x
        return -x


class Number(nn.Module):
    def forward(self, x):
        return x[:, : int(x.max().item())]  # the number


class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)  # the operator


class FixedBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.each = nn.Parameter(torch.ones(3, 4))

    def forward(self, x):
        return x + self.each


class TwoInputs(nn.Module):
    def forward(self, a, *, b=None, scale=2.0):
        return {"sum": a + scale * b, "pair": (a - b, a * b)}


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.list("picture"))
def test_models_of_the_zoo_answer_the_same_at_any_batch(name):
    model = zoo.load(name)
    inputs = [zoo.example(name, batch) for batch in (1, 2, 5)]
    proto = to_onnx(model, inputs[0])
    assert [o.version for o in proto.opset_import if not o.domain] == [18]
    assert verify(proto, model, inputs) <= comparison.TOLERANCE


def test_a_u_net_with_transposed_convolutions():
    torch.manual_seed(0)
    model = UNet(width=4, depth=2).eval()
    inputs = [torch.rand(batch, 1, 32, 32) for batch in (1, 3)]
    assert verify(to_onnx(model, inputs[0]), model, inputs) <= comparison.TOLERANCE


@pytest.mark.slow
def test_named_inputs_and_nested_outputs():
    example = {"a": torch.rand(1, 4), "b": torch.rand(1, 4)}
    proto = to_onnx(TwoInputs(), example)
    assert [given.name for given in proto.graph.input] == ["a", "b"]
    assert verify(proto, TwoInputs(), [example]) == 0


def test_a_fixed_batch_is_kept():
    x = torch.rand(3, 4)
    proto = to_onnx(FixedBatch(), x, dynamic_batch=False)
    sizes = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [3, 4]
    assert verify(proto, FixedBatch(), [x]) == 0
    with pytest.raises(
        ExportError, match="only for the batch size of the example: add"
    ):
        to_onnx(FixedBatch(), x)


class LastStep(nn.Module):
    def __init__(self, kind, batch_first):
        super().__init__()
        self.steps = kind(4, 8, batch_first=batch_first)

    def forward(self, x):
        y, _ = self.steps(x)
        return y[:, -1] if self.steps.batch_first else y[-1]


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_a_recurrent_layer_says_why_it_needs_one_length(kind):
    """PyTorch runs it at any length, so the length is not the model's own limit."""
    x, why = torch.rand(2, 6, 4), f"unrolls the steps of its nn.{kind.__name__}: leave"
    with pytest.raises(ExportError, match=why):
        to_onnx(LastStep(kind, True), x, sequence_axis=1)
    model = LastStep(kind, True)
    assert verify(to_onnx(model, x), model, [x, x[:1]]) <= comparison.TOLERANCE
    with pytest.raises(
        ExportError, match=f"batch_first=True to its nn.{kind.__name__}"
    ):
        to_onnx(LastStep(kind, False), x)


def test_a_parameter_may_be_an_output():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((3,), 2.0))

        def forward(self, x):
            return x * self.scale, self.scale

    model, x = Scaled(), torch.rand(2, 3)
    assert verify(to_onnx(model, x), model, [x]) == 0


def test_outputs_that_are_not_finite_verify_nothing():
    for factor, what in ((float("nan"), "NaN"), (float("inf"), "infinity")):
        model, x = nn.Threshold(0, factor), -torch.ones(2, 3)
        proto = to_onnx(model, x)
        assert verify(proto, model, [-x]) == 0
        with pytest.raises(ValueError, match=f"contains {what} for input 1, but only"):
            verify(proto, model, [-x, x])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Branch(), r"test_export.py, line \d+ \(if x.sum\(\) > 0:.*torch.where"),
        (Number(), r"test_export.py, line \d+ \(return x.*the number\).*torch.where"),
        (Svd(), r"svd, called at .*test_export.py, line \d+ \(.*the operator\)"),
    ],
)
def test_what_cannot_be_exported_is_named_with_its_line(model, words, capfd):
    with pytest.raises(ExportError, match=words) as caught:
        to_onnx(model, torch.rand(2, 4))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # the exporter's own messages


def test_an_error_of_the_model_itself_is_passed_on():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        to_onnx(nn.Linear(3, 2), torch.rand(2, 4))


def test_the_model_stays_as_it_was():
    model = zoo.load("fashion_net", pretrained=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    to_onnx(model, zoo.example("fashion_net"))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_changed_weight_is_found():
    from onnx import numpy_helper

    model, x = nn.Linear(4, 3), torch.rand(2, 4)
    proto = to_onnx(model, x)
    weight = next(i for i in proto.graph.initializer if len(i.dims) == 2)
    array = numpy_helper.to_array(weight).copy()
    array[0, 0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    with pytest.raises(OutputMismatchError, match="output 0 for input 0 differs by"):
        verify(proto, model, [x])


def test_the_relative_difference():
    r = np.array([1.0, -4.0, np.nan, np.inf])
    assert comparison.relative_difference(r, r) == 0
    assert (
        comparison.relative_difference(r + np.eye(4)[0], r) == 0.25
    )  # relative to the largest, 4
    for wrong in (np.array([np.nan, -4, np.nan, np.inf]), r[:3]):
        assert comparison.relative_difference(wrong, r) == np.inf
    assert comparison.relative_difference(np.zeros(4) + np.inf, r) == np.inf


def test_a_plain_form_has_no_packed_layer_and_nearly_the_same_answers():
    model, x = zoo.load("fashion_net_dpg"), zoo.example("fashion_net_dpg", 4)
    plain = export.plain_form(model)
    assert not any(hasattr(layer, "plain") for layer in plain.modules())
    assert any(hasattr(layer, "plain") for layer in model.modules())
    with torch.inference_mode():
        y, r = plain(x), model(x)  # its kernel rounds activations to 8 bits
    assert ((y - r).norm() / r.norm()) < 0.02


def test_without_the_packages_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingPackageError, match=r"\[deploy\]"):
        to_onnx(nn.Linear(2, 2), torch.rand(1, 2))
