"""The deployment folder: model, engine, scripts, reference outputs and README."""

import hashlib
import math
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import catalog
from ..machine import processor
from . import native
from .comparison import check_finite, relative_difference
from .result import Deployment, ReportLine, markdown
from .runtimes import Runner, arrays

if TYPE_CHECKING:
    import onnx

FILES = Path(__file__).with_name("kit")  # scripts and texts, with a folder per target
# Precisions of runtimes that multiply by packed codes; others would unpack them to float.
PACKED = ("packed", "packed_int8")
TOLERANCES = {  # for `verify.sh`
    "fp32": 1e-3,
    "packed": 1e-3,
    "fp16": 2e-2,
    "bf16": 5e-2,
    "int8": 5e-2,
    "packed_int8": 5e-2,
}


@dataclass
class Kit:
    """A deployment folder under construction.

    Each target has a function that completes this folder.

    Attributes:
        folder: the temporary folder to write to, which is renamed at the end.
        target: the name of the target.
        proto: the deployed model, an `onnx.ModelProto`.
        precision: the precision of the model.
        settings: the variables used by the scripts, which are RUNTIME, PROVIDER,
            PRECISION (as passed to the engine), BATCH and TOLERANCE.
        lines: additional lines for the report.
        notes: paragraphs for the README.
    """

    folder: Path
    target: str
    proto: Any
    precision: str
    settings: dict[str, Any]
    lines: list[ReportLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def script(self, name: str, text: str) -> None:
        """Add an executable script to the folder."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def own_files(self) -> None:
        """Add the scripts and the README notes from `kit/TARGET`."""
        own = FILES / self.target
        for path in sorted(own.glob("*.sh")):
            self.script(path.name, path.read_text())
        self.notes.append((own / f"notes.{catalog.language()}.md").read_text())

    def bundle_library(self) -> None:
        """Copy the ONNX Runtime library and its license into the folder."""
        lib = self.folder / "lib"
        lib.mkdir()
        shutil.copy(native.library(), lib)
        package = native.package_folder("onnxruntime")
        for name in ("LICENSE", "ThirdPartyNotices.txt"):
            if (package / name).exists():
                shutil.copy(package / name, lib)

    def write_common(self) -> None:
        """Write the files that every target needs: model, engine source and scripts."""
        (self.folder / "model.onnx").write_bytes(self.proto.SerializeToString())
        shutil.copytree(native.ENGINE, self.folder / "source")
        for name in ("build.sh", "run.sh", "verify.sh"):
            self.script(name, (FILES / name).read_text())
        overridable = ("PROVIDER", "BATCH", "TOLERANCE")  # by environment variables
        lines = [
            f'{key}="${{{key}:-{value}}}"\n'
            if key in overridable
            else f"{key}={value}\n"
            for key, value in self.settings.items()
        ]
        (self.folder / "settings.sh").write_text("".join(lines))

    def write_checksums(self) -> None:
        """Write the checksums of all files so far, in the format of sha256sum.

        The model is the last line, so that a list that was cut off does not name it.
        """
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        names = sorted(path.relative_to(self.folder).as_posix() for path in paths)
        names.append(names.pop(names.index("model.onnx")))
        lines = []
        for name in names:
            digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
            lines.append(f"{digest}  {name}\n")
        (self.folder / "model.onnx.sha256").write_text("".join(lines))

    def store_answers(
        self, samples: Any, run: Runner, float_proto: "onnx.ModelProto"
    ) -> None:
        """Write the inputs `samples` and their outputs on this CPU to `check/`.

        Other processors round differently. For an INT8 model, the outputs on another
        processor may differ from these by as much as INT8 differs from float32 on this
        CPU, so the tolerance is increased accordingly.
        """
        check = self.folder / "check"
        check.mkdir()
        inputs, outputs = arrays(samples), self._answers(self.proto, samples, run)
        name = f"the {self.precision} model"
        check_finite(outputs, name, "the example or a calibration batch")
        for kind, values in (("input", inputs), ("output", outputs)):
            for index, array in enumerate(values):
                np.save(check / f"{kind}_{index}.npy", array)
        if self.precision == "int8" and self.settings["PROVIDER"] != "cpu":
            exact = self._answers(float_proto, samples, run)
            difference = max(map(relative_difference, outputs, exact))
            limit = max(self.settings["TOLERANCE"], math.ceil(100 * difference) / 100)
            self.settings["TOLERANCE"] = limit

    def _answers(
        self, proto: "onnx.ModelProto", samples: Any, run: Runner
    ) -> list[np.ndarray]:
        """Run the model on all samples, in batches of its fixed size or one by one."""
        step = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        answer = run(proto)
        batches = zip(*(t.split(step) for t in samples), strict=True)
        columns = zip(*(answer(batch) for batch in batches), strict=True)
        return [np.concatenate(column) for column in columns]

    def write_readme(self, deployment: Deployment) -> None:
        template = (FILES / f"README.{catalog.language()}.md").read_text()
        readme = template.format(
            model=deployment.model,
            target=self.target,
            precision=deployment.precision,
            batch=deployment.batch,
            inputs=", ".join(map(_port, self.proto.graph.input)),
            outputs=", ".join(map(_port, self.proto.graph.output)),
            notes="\n".join(self.notes).strip(),
            table=markdown(deployment.lines),
            machine=f"{processor()}, {platform.system()}",
            headers=catalog.text(f"deploy.headers_{self.settings['RUNTIME']}"),
            tolerance=self.settings["TOLERANCE"],
        )
        (self.folder / "README.md").write_text(readme)


def _port(port: "onnx.ValueInfoProto") -> str:
    sizes = [d.dim_value or d.dim_param or "?" for d in port.type.tensor_type.shape.dim]
    return f"`{port.name}` [{', '.join(map(str, sizes))}]"
