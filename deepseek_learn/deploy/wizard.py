"""A wizard that turns a trained model into a self-contained folder to run it from."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils._pytree import tree_map

from . import checks, export, native, verification
from .accuracy import AIM, Metric, check_aim
from .conversion import Converter
from .destinations import Target, targets
from .examples import like, on_cpu, resized, samples
from .folder import exclusive_folder
from .kit import TOLERANCES, Kit
from .progress import Progress, reporting
from .ranges import rules
from .result import MEASURED, Deployment, ReportLine
from .runtimes import runner_for, tensors
from .source import OnnxFile, source_of

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
        self._converter = Converter(
            self.source,
            self.example,
            self.calibration,
            metric,
            dynamic_batch=self.dynamic_batch,
            sequence_axis=sequence_axis,
        )

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
                difference = self._converter.difference(precision)
                same = ReportLine(
                    "same", MEASURED, difference, source=self.source.label
                )
                tell("build", 0.2)
                engine, refusal = _engine(goal)
                tell("quantize", 0.3)
                proto, guarded, metric_lines = self._converter.at(
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

    @property
    def proto(self) -> "onnx.ModelProto":
        """The exported model in float32."""
        return self._converter.proto

    @property
    def same(self) -> float:
        """The largest relative difference between the exported and original outputs."""
        return self._converter.difference("fp32")

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
