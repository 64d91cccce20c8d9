"""Convert an exported model to the precision of a target."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..catalog import text
from ..errors import DeepSeekLearnError
from . import checks
from .accuracy import LIMIT, GuardedModel, Metric, float_points, guard, points
from .batches import feed
from .comparison import check_finite
from .destinations import Target
from .kit import PACKED
from .packed_weights import with_packed_weights
from .packing import PackedRows
from .progress import Progress
from .quantize import Quantizer, Scheme, half_precision
from .result import MEASURED, UNVERIFIED, ReportLine
from .runtimes import runner, runner_for, tensors
from .source import Axes, Source, TorchModel
from .winograd import with_winograd

if TYPE_CHECKING:
    import onnx


class Converter:
    """A model in every precision that was asked for, each converted only once.

    The arguments are those of `DeploymentWizard`, already checked.
    """

    def __init__(
        self,
        source: Source,
        example: Any,
        calibration: Sequence[Any] | None,
        metric: Metric | None,
        *,
        dynamic_batch: bool,
        sequence_axis: Axes,
    ):
        self.source, self.example, self.metric = source, example, metric
        self.calibration = calibration or []
        self.dynamic_batch, self.sequence_axis = dynamic_batch, sequence_axis
        self._quantizers: dict[tuple[Scheme, str], Quantizer] = {}
        self._converted: dict[tuple, tuple] = {}

    @functools.cached_property
    def proto(self) -> "onnx.ModelProto":
        """The exported model in float32."""
        proto = self.source.export(self.example, self.dynamic_batch, self.sequence_axis)
        checks.ports(proto)
        return proto

    @functools.cached_property
    def packed(self) -> tuple["onnx.ModelProto", dict[str, PackedRows]]:
        """The exported model with packed linear layers, and its packed convolutions."""
        axes = self.dynamic_batch, self.sequence_axis
        return self.source.export_packed(self.example, *axes)

    def difference(self, precision: str) -> float:
        """Return the largest relative difference from the outputs of the original.

        Before anything is rounded: of the float model, or of the packed one if that is
        what will be deployed.
        """
        if precision in PACKED:
            return self._difference_packed
        return self._difference

    @functools.cached_property
    def _difference(self) -> float:
        for at, batch in enumerate(self.calibration):
            feed(self.proto, batch, at)  # raises an error if the shape is different
        answers = runner(self.proto)(self.example)
        check_finite(answers, self.source.name, "the example")
        checks.outputs(answers, len(tensors(self.example)[0]))
        return self.source.difference(self.proto, self._inputs())

    @functools.cached_property
    def _difference_packed(self) -> float:
        packed = with_packed_weights(*self.packed)
        return max(self._difference, self.source.difference(packed, self._inputs()))

    def _inputs(self) -> list:
        inputs = [self.example, *self.calibration[:1]]
        # for an .onnx file, the caller does not choose the sequence axis
        if self.sequence_axis is not None and isinstance(self.source, TorchModel):
            inputs.append(self.source.shorter(self.example, self.sequence_axis))
        return inputs

    def at(
        self, goal: Target, precision: str, loss: float, ranges: str, tell: Progress
    ) -> tuple["onnx.ModelProto", GuardedModel | None, list[ReportLine]]:
        """Return the model in the given precision, the guard's result and the metric.

        The metric is returned as report lines. The guard's result is None unless the
        precision is INT8.
        """
        key = (goal.scheme, goal.runtime, precision, loss, ranges)
        if key not in self._converted:
            proto, guarded = self._convert(goal, precision, loss, ranges, tell)
            lines = self._metric_lines(goal, precision, proto, guarded)
            self._converted[key] = proto, guarded, lines
        return self._converted[key]

    def _convert(
        self, goal: Target, precision: str, loss: float, ranges: str, tell: Progress
    ) -> tuple["onnx.ModelProto", GuardedModel | None]:
        if precision in ("int8", "packed_int8"):
            assert self.metric is not None  # see `checks.precision`
            packed = precision == "packed_int8"
            guarded = guard(
                self._quantizer(goal.scheme, ranges, packed),
                self.metric,
                loss,
                runner_for(goal.runtime, precision),
                lambda part: tell("quantize", 0.3 + 0.6 * part),
            )
            if packed:
                proto = with_packed_weights(guarded.proto, self.packed[1])
                guarded = dataclasses.replace(guarded, proto=proto)
            return guarded.proto, guarded
        if precision == "packed":
            return with_packed_weights(*self.packed), None
        if precision == "fp16":
            return half_precision(self.proto), None
        if precision == "fp32" and goal.own_kernels:
            return with_winograd(self.proto), None
        return self.proto, None

    def _quantizer(self, scheme: Scheme, ranges: str, packed: bool) -> Quantizer:
        """Return the quantizer for an INT8 scheme, which is calibrated only once."""
        proto = self.proto
        if packed:
            proto, convolutions = self.packed
            if not convolutions:
                raise ValueError(
                    "precision 'packed_int8' computes packed convolutions in INT8, and "
                    "this model has none; use 'packed'."
                )
            # the integers are computed from the codes when the file is loaded
            scheme = dataclasses.replace(scheme, float_weights=True)
        key = scheme, ranges
        if key not in self._quantizers:
            self._quantizers[key] = Quantizer(proto, self.calibration, scheme, ranges)
        return self._quantizers[key]

    def _metric_lines(
        self,
        goal: Target,
        precision: str,
        proto: "onnx.ModelProto",
        guarded: GuardedModel | None,
    ) -> list[ReportLine]:
        if self.metric is None:
            return []
        if guarded:
            before, after = guarded.float_metric, guarded.metric
        else:
            before = after = float_points(self.metric, self.proto)
            if precision != "fp32" or goal.runtime != "onnxruntime":
                run = runner_for(goal.runtime, precision)
                after = points(self.metric, proto, run)
        if before - after >= LIMIT:
            raise DeepSeekLearnError(
                f"{precision} loses {before - after:.2f} points ({before:.2f} to "
                f"{after:.2f}), and a loss of {LIMIT:g} or more is rejected."
            )
        unit, status, note = text("deploy.points"), MEASURED, ""
        if precision == "fp16":  # on this CPU, only the weights are rounded to float16
            status, note = UNVERIFIED, text("deploy.half_here")
        return [
            ReportLine("metric_before", MEASURED, before, unit),
            ReportLine("metric", status, after, unit, note),
            ReportLine("loss", status, before - after, unit, note),
        ]
