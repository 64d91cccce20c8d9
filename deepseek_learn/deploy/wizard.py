"""A wizard that turns a trained model into a self-contained folder to run it from."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils._pytree import tree_map

from ..catalog import text
from ..errors import DeepSeekLearnError
from . import checks, export, native, packed_weights, verification
from .accuracy import (
    AIM,
    LIMIT,
    GuardedModel,
    Metric,
    check_aim,
    float_points,
    guard,
    points,
)
from .batches import feed
from .comparison import check_finite
from .destinations import Target, targets
from .examples import like, on_cpu, resized, samples
from .folder import exclusive_folder
from .kit import PACKED, TOLERANCES, Kit
from .packing import PackedRows
from .progress import Progress, reporting
from .quantize import Quantizer, Scheme, half_precision
from .ranges import rules
from .result import MEASURED, UNVERIFIED, Deployment, ReportLine
from .runtimes import runner, runner_for, tensors
from .source import OnnxFile, TorchModel, source_of
from .winograd import with_winograd

if TYPE_CHECKING:
    import onnx

    from .page import WizardPage


class DeploymentWizard:
    """A wizard that exports, verifies, quantizes and builds a model for any target.

    Args:
        model: a module, which is copied and never modified, or the path of an .onnx
            file.
        example: a single input tensor, a tuple of positional arguments, or a dict of
            named arguments.
        calibration: batches in the form of the example, taken from the data that the
            model will be used on. They determine the ranges for INT8. A few dozen
            samples are enough.
        metric: a function that takes `predict` and returns points (0..100, higher is
            better) on held-out data. It is used to guard the accuracy of INT8.
            `predict(x)` returns the output tensor of the model, or a tuple of tensors
            if there are several outputs.
        mean, std: one value per channel, or one value for all channels. The engine
            normalizes an image to (x - mean) / std, where x is between 0 and 1. By
            default, images are not normalized and remain in 0..1.
        dynamic_batch: set this to False for a model that only accepts the batch size of
            the example. For an .onnx file, the file itself determines this.
        sequence_axis: another axis of variable size, such as 1 for tokens of shape
            `[B, T]`, in every input that has it. A dict specifies the axis of each
            argument by name. For targets that require a fixed batch size, the length is
            also fixed to the length of the example.

    Raises:
        TypeError: if `model` is neither a `torch.nn.Module` nor a path, or if
            `calibration` or `metric` is of the wrong kind.
        ValueError: if the example has no batch axis or a type that the engine cannot
            read, if a calibration batch has another structure than the example, or if
            `mean` or `std` is invalid.
        FileNotFoundError, DamagedFileError, ExportError: see `source.OnnxFile`.

    >>> import torch
    >>> from deepseek_learn import DeploymentWizard
    >>> wizard = DeploymentWizard(torch.nn.Linear(16, 4), torch.rand(1, 16))
    >>> deployment = wizard.to("openvino", "deployed", precision="fp32")
    >>> deployment.folder.name, deployment.target
    ('deployed', 'openvino')
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        example: Any,
        calibration: Iterable[Any] | None = None,
        metric: Metric | None = None,
        *,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        dynamic_batch: bool = True,
        sequence_axis: int | dict[str, int] | None = None,
    ):
        self.source = source_of(model)
        checks.example(example)
        checks.metric(metric)
        self.example, self.metric = tree_map(on_cpu, example), metric
        self.calibration = None
        if calibration is not None:
            checks.calibration(calibration)
            batches = enumerate(calibration)
            self.calibration = [like(example, batch, at) for at, batch in batches]
        self.dynamic_batch, self.sequence_axis = dynamic_batch, sequence_axis
        if isinstance(self.source, OnnxFile):
            self.dynamic_batch = dynamic_batch and self.source.free_batch
            checks.no_sequence_axis(sequence_axis)
        self._prepare = checks.preparation(mean, std, tensors(example))
        self._quantizers: dict[tuple[Scheme, str], Quantizer] = {}
        self._converted: dict[tuple, tuple] = {}

    def to(
        self,
        target: str,
        out: str | Path,
        *,
        precision: str | None = None,
        loss: float = AIM,
        ranges: str = "minmax",
        batch: int = 1,
        overwrite: bool = False,
        progress: bool | Progress = True,
    ) -> Deployment:
        """Deploy the model to a target and write the output folder atomically.

        Args:
            target: the name of a target in `deploy.targets`.
            out: the output folder.
            precision: a precision that the target supports. The default is the first
                one that the target lists. "packed" keeps the weights of a model that
                `dpg.compress` made as small in the file as they are, with activations
                in float; "packed_int8" computes its convolutions in INT8.
            loss: the maximum number of points that INT8 may lose. A loss of 1 point or
                more is always rejected.
            ranges: the rule that derives the ranges of activations in INT8 from the
                calibration batches: "minmax", "percentile" or "mse" (see `Quantizer`).
            batch: the batch size for the measurements. Targets with a fixed batch size
                are built for this size.
            overwrite: whether to replace an existing deployment in `out`.
            progress: True to show a progress bar, or a function that is called with a
                description of the step and the fraction completed, 0..1.

        Raises:
            AccuracyError: if INT8 would lose 1 point or more. The message includes the
                table of attempts.
            ExportError, OutputMismatchError: see `to_onnx` and `verify`.
            BuildError: if the engine has to run on this machine but cannot be compiled.
            FileExistsError: if `out` is not empty, or if another process is writing to
                it.
            ValueError, UnknownNameError: if an argument is invalid.
        """
        goal, folder = targets[target], Path(out)
        precision = self._validate(goal, precision, loss, batch)
        rules[ranges]  # raises an error if the rule is unknown
        with reporting(progress) as tell:
            with exclusive_folder(folder) as temporary:
                checks.folder(folder, overwrite)
                tell("export", 0.0)
                same = self._same_line(precision)
                tell("build", 0.2)
                engine, refusal = _engine(goal)
                tell("quantize", 0.3)
                proto, guarded, metric_lines = self._at_precision(
                    goal, precision, loss, ranges, tell
                )
                kit = self._kit(temporary, goal, proto, precision, batch)
                goal.complete(kit)
                kit.write_checksums()
                tell("measure", 0.9)
                x = self._timed(batch)
                measured = verification.lines(
                    kit, goal, engine, refusal, self.source, x
                )
                deployment = Deployment(
                    target,
                    self.source.name,
                    folder,
                    precision,
                    batch,
                    (same, *metric_lines, *measured, *kit.lines),
                    guarded,
                    _files(temporary),
                )
                kit.write_readme(deployment)
                deployment.save(temporary / "report.json")
                deployment = dataclasses.replace(deployment, files=_files(temporary))
            tell("done", 1.0)
        return deployment

    def _kit(
        self,
        folder: Path,
        goal: Target,
        proto: "onnx.ModelProto",
        precision: str,
        batch: int,
    ) -> Kit:
        """Create the kit with the files that every target needs."""
        proto = export.copy_of(proto)
        if goal.fixed_batch:
            export.fix_sizes(proto, [t.shape for t in tensors(self._timed(batch))])
        export.describe(proto, self._prepare)
        settings = {
            "RUNTIME": goal.runtime,
            "PROVIDER": goal.provider,
            "PRECISION": goal.told(precision),
            "BATCH": batch,
            "TOLERANCE": TOLERANCES[goal.computes(precision)],
        }
        kit = Kit(folder, goal.name, proto, precision, settings)
        run = runner_for(goal.runtime, precision)
        inputs = (self.example, *(self.calibration or []))
        kit.store_answers(samples(inputs, batch, self.dynamic_batch), run, self.proto)
        kit.write_common()
        return kit

    def page(self, folder: str | Path = "deployed") -> "WizardPage":
        """Return a form with a button that calls `to` (ipywidgets)."""
        from .page import WizardPage

        return WizardPage(self, folder)

    @functools.cached_property
    def proto(self) -> "onnx.ModelProto":
        """The exported model in float32."""
        proto = self.source.export(self.example, self.dynamic_batch, self.sequence_axis)
        checks.ports(proto)
        return proto

    @functools.cached_property
    def same(self) -> float:
        """The largest relative difference between the exported and original outputs."""
        for at, batch in enumerate(self.calibration or []):
            feed(self.proto, batch, at)  # raises an error if the shape is different
        inputs = [self.example, *(self.calibration or [])[:1]]
        # for an .onnx file, the caller does not choose the sequence axis
        if self.sequence_axis is not None and isinstance(self.source, TorchModel):
            inputs.append(self.source.shorter(self.example, self.sequence_axis))
        answers = runner(self.proto)(self.example)
        check_finite(answers, self.source.name, "the example")
        checks.outputs(answers, self._example_batch())
        return self.source.difference(self.proto, inputs)

    @functools.cached_property
    def packed(self) -> tuple["onnx.ModelProto", dict[str, PackedRows]]:
        """The exported model with packed linear layers, and its packed convolutions."""
        return self.source.export_packed(
            self.example, self.dynamic_batch, self.sequence_axis
        )

    def _same_line(self, precision: str) -> ReportLine:
        """Compare the exported model with the original one, packed if it is deployed so."""
        difference = self.same
        if precision in PACKED:
            proto = packed_weights.with_packed_weights(*self.packed)
            inputs = [self.example, *(self.calibration or [])[:1]]
            difference = self.source.difference(proto, inputs)
        return ReportLine("same", MEASURED, difference, source=self.source.label)

    def quantizer(
        self, scheme: Scheme, ranges: str = "minmax", packed: bool = False
    ) -> Quantizer:
        """Return the quantizer for an INT8 scheme, which is calibrated only once.

        Args:
            packed: whether to quantize only the convolutions of a compressed model.
        """
        if packed:  # in the file, each weight is computed from its codes
            scheme = dataclasses.replace(scheme, float_weights=True)
        key = scheme, ranges
        if key not in self._quantizers:
            proto = self.packed[0] if packed else self.proto
            quantizer = Quantizer(proto, self.calibration or [], scheme, ranges)
            self._quantizers[key] = quantizer
        return self._quantizers[key]

    def _validate(
        self, goal: Target, precision: str | None, loss: float, batch: int
    ) -> str:
        """Check the arguments before any work is done; return the precision to use."""
        check_aim(loss)
        checks.batch(batch, None if self.dynamic_batch else self._example_batch())
        requirements = {"calibration": self.calibration, "metric": self.metric}
        return checks.precision(precision, goal, requirements)

    def _timed(self, batch: int) -> Any:
        """Return the example in the given batch size, if it can be changed."""
        return resized(self.example, batch) if self.dynamic_batch else self.example

    def _example_batch(self) -> int:
        return len(tensors(self.example)[0])

    def _at_precision(
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
            guarded = guard(
                self.quantizer(goal.scheme, ranges, precision == "packed_int8"),
                self.metric,
                loss,
                runner_for(goal.runtime, precision),
                lambda part: tell("quantize", 0.3 + 0.6 * part),
            )
            if precision == "packed_int8":
                packed = packed_weights.with_packed_weights(
                    guarded.proto, self.packed[1]
                )
                guarded = dataclasses.replace(guarded, proto=packed)
            return guarded.proto, guarded
        if precision == "packed":
            return packed_weights.with_packed_weights(*self.packed), None
        if precision == "fp16":
            return half_precision(self.proto), None
        if precision == "fp32" and goal.own_kernels:
            return with_winograd(self.proto), None
        return self.proto, None

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


def _engine(goal: Target) -> tuple[bytes | None, str]:
    """Return the compiled engine and an empty string.

    If compilation fails but the engine does not have to run on this machine, return
    None and the reason for the failure.
    """
    try:
        return native.compiled(goal.runtime), ""
    except native.BuildError as error:
        if goal.provider == "cpu":
            raise
        return None, str(error)


def _files(folder: Path) -> dict[str, int]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in paths}
