"""Static INT8: quantize/dequantize pairs (QDQ) with ranges calibrated once.

A tensor x becomes q = clip(round(x / s) + z), and s (q - z) is what the next operator
sees; the runtime melts the pairs into integer kernels (Jacob et al. 2018,
arXiv 1712.05877). Weights have one scale an output channel and z = 0; a tensor of
activations has one scale, from the range of the values seen in calibration (`ranges`).
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UnknownNameError, require
from .hub import copy_of, quietly, weighted
from .ranges import histograms, rules
from .runtimes import ordered, session

# layers, and what joins them: a sum or a pooling in between stays in integers
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OPERATORS += ("Add", "Clip", "Concat", "MaxPool", "Relu")


@dataclass(frozen=True)
class Scheme:
    """How a target wants its integers.

    Attributes:
        symmetric: activations in int8 with z = 0 (TensorRT takes no other z); False:
            in uint8 with any z, which uses all 256 steps after a ReLU.
        float_weights: the file keeps float32 weights, each with its pair (TensorRT);
            False: int8 weights, a quarter of the size.
        operators: kinds of ONNX operators that are quantized.
    """

    symmetric: bool = False
    float_weights: bool = False
    operators: tuple[str, ...] = OPERATORS


class Quantizer:
    """One exported model, calibrated; gives it with any of its layers in INT8.

    Attributes:
        layers: names of the layers that can be, in the order of the model.

    Args:
        proto: from `to_onnx`.
        batches: calibration inputs, each like the `example` of `to_onnx`.
        ranges: what an activation's steps cover: "minmax", all values seen; "percentile",
            all but the outermost 0.01 %; "mse", what rounds them with the least error.

    Raises:
        UnknownNameError: for other `ranges`.
        ValueError: without a batch, for one of another type or shape than the model
            takes, and for a model without a layer that can be INT8.
        MissingPackageError: without the packages of the extra `deploy`.
    """

    def __init__(
        self,
        proto,
        batches: Iterable,
        scheme: Scheme | None = None,
        ranges: str = "minmax",
    ):
        onnx = require("onnx", extra="deploy", purpose="quantizing")
        require("onnxruntime", extra="deploy", purpose="quantizing")
        self.scheme, rule = (scheme := scheme or Scheme()), rules[ranges]
        self.batches = [feed(proto, batch, at) for at, batch in enumerate(batches)]
        if not self.batches:
            raise ValueError(
                "calibration must give at least one batch like the example; it gave none."
            )
        self.proto = onnx.shape_inference.infer_shapes(proto)
        self.layers = [
            node.name for node in weighted(proto) if node.op_type in scheme.operators
        ]
        if not self.layers:
            raise ValueError(
                "the model has no layer with a weight that could be INT8: take float32."
            )
        with quietly():
            self._ranges = self._calibrate()
            if rule is not rules["minmax"]:
                self._narrow(rule)

    def int8(self, in_float: Sequence[str] = (), only: Sequence[str] | None = None):
        """The model with INT8 layers, as a `ModelProto`.

        Args:
            in_float: layers that are left as they are.
            only: quantize these layers and nothing else.
        """
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
                nodes_to_exclude=list(in_float),
                op_types_to_quantize=list(self.scheme.operators),
                extra_options={
                    "ActivationSymmetric": self.scheme.symmetric,
                    "AddQDQPairToWeight": self.scheme.float_weights,
                    "QuantizeBias": not self.scheme.float_weights,
                },
            )
            quantizer.quantize_model()
        return _sorted(quantizer.model.model)

    def errors(
        self,
        inputs: Iterable | None = None,
        samples: int = 16,
        progress: Callable[[float], None] = lambda part: None,
    ) -> dict[str, float]:
        """What one quantized layer alone does to the model's answer, layer by layer.

        The normalized mean squared error `|y_q - y|² / |y|²` of the outputs.

        Args:
            inputs: batches like the example; by default those of the calibration, which
                cannot show what its ranges cut off.
            samples: so many of the inputs, rounded up to whole batches.
            progress: called with the part done, 0..1.
        """
        given = self.batches
        if inputs is not None:
            given = [feed(self.proto, batch, at) for at, batch in enumerate(inputs)]
        some = _first(given, samples)
        wanted, found = self._answers(self.proto, some), {}
        for at, layer in enumerate(self.layers):
            answers = self._answers(self.int8(only=[layer]), some)
            found[layer] = normalized_error(answers, wanted)
            progress((at + 1) / len(self.layers))
        return found

    def _calibrate(self):
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
            calibrator.collect_data(_Reader(self.batches))
            return calibrator.compute_data()

    def _narrow(self, rule: Callable) -> None:
        """Let the rule choose within the ranges seen."""
        from onnxruntime.quantization.calibrate import TensorData

        seen = {
            name: tuple(np.asarray(end).item() for end in data.range_value)
            for name, data in self._ranges.items()
        }
        for name, histogram in histograms(self.proto, self.batches, seen).items():
            if histogram.counts.any():
                low, high = rule(histogram, self.scheme.symmetric)
                self._ranges[name] = TensorData(
                    lowest=np.array([low], np.float32),
                    highest=np.array([high], np.float32),
                )

    def _answers(self, proto, inputs) -> list[list[np.ndarray]]:
        opened = session(proto)
        return [opened.run(None, each) for each in inputs]


def _first(batches, samples: int) -> list[dict[str, np.ndarray]]:
    """Whole batches with `samples` inputs or a few more."""
    found, count = [], 0
    for batch in batches:
        if count < samples:
            found.append(batch)
        count += len(next(iter(batch.values())))
    return found


class _Reader:
    """Batches as ONNX Runtime's calibrator asks for them."""

    def __init__(self, batches):
        self._left = iter(batches)

    def get_next(self):
        return next(self._left, None)


def half_precision(proto):
    """The model in float16, its inputs and outputs still in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copied = copy_of(proto)
    with quietly():
        half = convert_float_to_float16(copied, keep_io_types=True)
        return _sorted(half)


def _sorted(proto):
    """Nodes in the order in which they can run: the standard wants it, the tools do not."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    model = ONNXModel(proto)
    model.topological_sort()
    return model.model


def feed(proto, batch: Any, at: int) -> dict[str, np.ndarray]:
    """A calibration batch by the names of the model's inputs, checked against them."""
    given = list(proto.graph.input)
    tensors = ordered(batch, [port.name for port in given])
    if len(tensors) != len(given):
        raise ValueError(
            f"calibration batch {at} must hold {len(given)} tensors, like the example; "
            f"got {len(tensors)}."
        )
    found = {}
    for port, array in zip(given, tensors, strict=True):
        kind = port.type.tensor_type
        sizes = [d.dim_value or None for d in kind.shape.dim]  # None: any size
        fits = array.ndim == len(sizes) and all(
            size in (None, n) for size, n in zip(sizes, array.shape, strict=True)
        )
        wanted = _numpy_type(kind.elem_type)
        if not fits or array.dtype != wanted:
            shape = ", ".join("any" if size is None else str(size) for size in sizes)
            raise ValueError(
                f"calibration batch {at} must be {wanted} [{shape}] like the example; "
                f"got {array.dtype} {list(array.shape)}."
            )
        found[port.name] = array
    return found


def normalized_error(answers, wanted) -> float:
    """|y - r|² / |r|² over all outputs of all inputs."""
    pairs = [
        (np.float64(y), np.float64(r))
        for ys, rs in zip(answers, wanted, strict=True)
        for y, r in zip(ys, rs, strict=True)
    ]
    apart = sum(((y - r) ** 2).sum() for y, r in pairs)
    return float(apart / max(sum((r**2).sum() for _, r in pairs), 1e-30))


def _numpy_type(element: int) -> np.dtype:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(element)
