"""Static INT8 quantization with quantize/dequantize (QDQ) pairs.

The quantizer replaces a tensor x by q = clip(round(x / s) + z), and the next operator
receives s (q - z). The runtime fuses these pairs into integer kernels (Jacob et al.
2018, "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", arXiv 1712.05877). Weights have one scale per output
channel and z = 0. An activation tensor has a single scale, which is calibrated once
from the range of its values (see `ranges`). Tables in which rows are looked up are packed
by `tables`.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnknownNameError, require
from .batches import BatchReader, feed, first_batches
from .export import LAYERS, copy_of, quietly, weighted
from .ranges import histograms, rules
from .runtimes import session
from .tables import pack_tables

if TYPE_CHECKING:
    import onnx

# the operators between layers, such as sums and pooling, are also computed in integers
OPERATORS = (*LAYERS, "Add", "Clip", "Concat", "MaxPool", "Relu")


@dataclass(frozen=True)
class Scheme:
    """The INT8 quantization scheme of a target.

    Attributes:
        symmetric: if True, activations are int8 with z = 0, as TensorRT requires. If
            False, they are uint8 with any z, which uses all 256 levels after a ReLU.
        float_weights: if True, the file stores float32 weights, each followed by a QDQ
            pair (for TensorRT). If False, it stores int8 weights, which are a quarter
            of the size.
        float_biases: whether biases stay in float, as TensorRT requires.
        operators: the ONNX operator types to quantize.

    >>> from deepseek_learn import deploy
    >>> deploy.Scheme(symmetric=True).symmetric
    True
    """

    symmetric: bool = False
    float_weights: bool = False
    float_biases: bool = False
    operators: tuple[str, ...] = OPERATORS


class Quantizer:
    """A calibrated model that can be quantized to INT8, entirely or in part.

    Args:
        proto: the exported model, from `to_onnx`.
        batches: the calibration inputs, each in the form of the `example` of `to_onnx`.
        scheme: the INT8 scheme; by default, `Scheme()`.
        ranges: the rule that selects the range of an activation. "minmax" covers all
            observed values, "percentile" covers all except the outermost 0.01%, and
            "mse" minimizes the mean squared error.

    Attributes:
        layers: the names of the quantizable layers, in model order.

    Raises:
        UnknownNameError: if `ranges` is unknown.
        ValueError: if there are no batches, if a batch does not have the type or shape
            that the model expects, if a tensor that has to be quantized is not finite
            for a batch, or if the model has no quantizable layers.
        MissingPackageError: if the packages of the extra `deploy` are not installed.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import deploy
    >>> net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> proto = deploy.to_onnx(net, torch.rand(1, 16))
    >>> quantizer = deploy.Quantizer(proto, [torch.rand(64, 16)])
    >>> quantizer.layers
    ['0', '2']
    """

    def __init__(
        self,
        proto: "onnx.ModelProto",
        batches: Iterable[Any],
        scheme: Scheme | None = None,
        ranges: str = "minmax",
    ):
        onnx = require("onnx", extra="deploy", purpose="quantizing")
        require("onnxruntime", extra="deploy", purpose="quantizing")
        self.scheme, rule = (scheme := scheme or Scheme()), rules[ranges]
        self.batches = [feed(proto, batch, at) for at, batch in enumerate(batches)]
        if not self.batches:
            raise ValueError(
                "calibration must contain at least one batch like the example; "
                "got none."
            )
        self.proto = onnx.shape_inference.infer_shapes(proto)
        self.layers = [
            node.name for node in weighted(proto) if node.op_type in scheme.operators
        ]
        if not self.layers:
            raise ValueError(
                "the model has no layer that can be quantized to INT8; use float32."
            )
        with quietly():
            self._ranges = self._calibrate()
        self._check_ranges()
        if rule is not rules["minmax"]:
            with quietly():
                self._narrow(rule)

    def int8(
        self, in_float: Sequence[str] = (), only: Sequence[str] | None = None
    ) -> "onnx.ModelProto":
        """Return a copy of the model with layers quantized to INT8, as a `ModelProto`.

        The operators before the first quantized layer stay in float: there, no integers
        flow yet, and a rounded sum may ruin a logarithm.

        Args:
            in_float: the layers to leave in float.
            only: if given, quantize only these layers.
        """
        in_float = tuple(in_float)  # read several times, so not as a generator
        only = None if only is None else tuple(only)
        unknown = {*in_float, *(only or ())} - {*self.layers}
        if unknown:
            raise UnknownNameError("layer", min(unknown), self.layers)
        if only is not None and not only:
            return copy_of(self.proto)
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copied = copy_of(self.proto)
        with quietly():
            quantizer = QDQQuantizer(
                copied,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8
                if self.scheme.symmetric
                else QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=list(only or []),
                nodes_to_exclude=[
                    *in_float,
                    *self._before(in_float),
                    *self._of_packed(),
                ],
                op_types_to_quantize=list(self.scheme.operators),
                extra_options={
                    "ActivationSymmetric": self.scheme.symmetric,
                    "AddQDQPairToWeight": self.scheme.float_weights,
                    "QuantizeBias": not self.scheme.float_biases,
                },
            )
            quantizer.quantize_model()
        result = _sorted(quantizer.model.model)
        # a single layer is quantized only to measure its error, so size does not matter
        if only is None and not self.scheme.float_weights:
            pack_tables(result)
        return result

    def _before(self, in_float: Sequence[str]) -> list[str]:
        """Return the operators that no quantized layer precedes."""
        # Walk along the data and mark every tensor that is reached from a quantized layer.
        quantized = {*self.layers} - {*in_float}
        after: set[str] = set()  # tensors that a quantized layer precedes
        before = []
        for node in self.proto.graph.node:  # in topological order
            if node.name in quantized or after.intersection(node.input):
                after.update(node.output)
            elif node.op_type in self.scheme.operators:
                before.append(node.name)
        return [name for name in before if name not in in_float]

    def _of_packed(self) -> list[str]:
        """Return the operators that add and order what `MatMulNBits` returns in float."""
        products: set[str] = set()
        nodes = []
        for node in self.proto.graph.node:  # in topological order
            follows = node.op_type in ("Add", "Concat", "Gather")
            if follows and products.intersection(node.input):
                nodes.append(node.name)
            elif node.op_type != "MatMulNBits":
                continue
            products.update(node.output)
        return nodes

    def errors(
        self,
        inputs: Iterable[Any] | None = None,
        samples: int = 16,
        progress: Callable[[float], None] = lambda part: None,
    ) -> dict[str, float]:
        """Return the sensitivity of each layer.

        The sensitivity is the normalized mean squared error `|y_q - y|² / |y|²` of the
        outputs when only that layer is quantized.

        Args:
            inputs: batches in the form of the example. The default is the calibration
                batches, but these cannot reveal the clipping of values outside their
                own ranges.
            samples: the number of inputs to use, rounded up to whole batches.
            progress: a function called with the fraction completed, 0..1.
        """
        batches = self.batches
        if inputs is not None:
            batches = [feed(self.proto, batch, i) for i, batch in enumerate(inputs)]
        batches = first_batches(batches, samples)
        reference, errors = self._answers(self.proto, batches), {}
        for index, layer in enumerate(self.layers):
            answers = self._answers(self.int8(only=[layer]), batches)
            errors[layer] = normalized_error(answers, reference)
            progress((index + 1) / len(self.layers))
        return errors

    def _calibrate(self) -> Any:
        from onnxruntime.quantization.calibrate import (
            CalibrationMethod,
            create_calibrator,
        )

        with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
            plain = Path(folder) / "model.onnx"
            plain.write_bytes(self.proto.SerializeToString())
            calibrator = create_calibrator(
                plain,
                list(self.scheme.operators),
                augmented_model_path=str(plain.with_name("augmented.onnx")),
                calibrate_method=CalibrationMethod.MinMax,
                providers=["CPUExecutionProvider"],
            )
            calibrator.collect_data(BatchReader(self.batches))
            return calibrator.compute_data()

    def _check_ranges(self) -> None:
        """Check that every tensor to be quantized has a finite range."""
        infinite = {
            name
            for name, data in self._ranges.items()
            if not np.isfinite(data.range_value).all()
        }
        before = self._before(())
        for node in self.proto.graph.node:
            names = infinite.intersection((*node.input, *node.output))
            if (
                names
                and node.op_type in self.scheme.operators
                and node.name not in before
            ):
                raise ValueError(
                    f"calibration must give finite values wherever INT8 needs a range, but "
                    f"the {node.op_type} {node.name} has NaN or infinity in {min(names)}."
                )

    def _narrow(self, rule: Callable) -> None:
        """Replace each observed range with the range selected by the rule."""
        from onnxruntime.quantization.calibrate import TensorData

        observed = {
            name: tuple(np.asarray(end).item() for end in data.range_value)
            for name, data in self._ranges.items()
        }
        for name, histogram in histograms(self.proto, self.batches, observed).items():
            if histogram.counts.any():
                low, high = rule(histogram, self.scheme.symmetric)
                self._ranges[name] = TensorData(
                    lowest=np.array([low], np.float32),
                    highest=np.array([high], np.float32),
                )

    def _answers(
        self, proto: "onnx.ModelProto", inputs: Iterable[dict[str, np.ndarray]]
    ) -> list[list[np.ndarray]]:
        ort = session(proto)
        return [ort.run(None, feeds) for feeds in inputs]


def half_precision(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Convert the model to float16, but keep its inputs and outputs in float32.

    Raises:
        ValueError: if a weight exceeds float16, which the converter would clip. Other
            constants, such as the -1e9 of a mask, may be clipped.
    """
    from onnx import numpy_helper
    from onnxruntime.transformers.float16 import convert_float_to_float16

    weights = {name for node in weighted(proto) for name in node.input}
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            reach = np.abs(numpy_helper.to_array(tensor)).max(initial=0)
            if reach > np.finfo(np.float16).max:
                raise ValueError(
                    f"the weight {tensor.name} reaches {reach:.3g}, but float16 ends at "
                    f"65504; use fp32."
                )
    copied = copy_of(proto)
    with quietly():
        half = convert_float_to_float16(copied, keep_io_types=True)
        return _sorted(half)


def _sorted(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Sort the nodes topologically, which ONNX requires but the tools do not ensure."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    model = ONNXModel(proto)
    model.topological_sort()
    return model.model


def normalized_error(
    answers: Iterable[list[np.ndarray]], wanted: Iterable[list[np.ndarray]]
) -> float:
    """Return the normalized error |y - r|² / |r|² over all outputs of all inputs."""
    pairs = [
        (np.float64(y), np.float64(r))
        for ys, rs in zip(answers, wanted, strict=True)
        for y, r in zip(ys, rs, strict=True)
    ]
    error = sum(((y - r) ** 2).sum() for y, r in pairs)
    return float(error / max(sum((r**2).sum() for _, r in pairs), 1e-30))
