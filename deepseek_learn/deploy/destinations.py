"""The deployment targets and their registry.

A target consists of a set of requirements and a function that completes its folder. Use
the decorator `@target("my-board")` to add a target.
Lesson: `notebooks/innovation/02_engine_and_targets.ipynb`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..registry import Registry
from .kit import FILES, PACKED, Kit
from .quantize import Scheme
from .result import UNVERIFIED, ReportLine

# adds the files that only one target needs
Completion = Callable[[Kit], None]
targets: Registry["Target"] = Registry("target")


@dataclass(frozen=True)
class Target:
    """The requirements of a deployment target.

    Attributes:
        name: the name of the target.
        complete: a function that adds the files needed only for this target.
        runtime: the runtime of the engine, "onnxruntime" or "openvino".
        provider: the execution provider of ONNX Runtime: "cpu", "tensorrt", "cann" or
            "migraphx".
        precisions: the precisions that the wizard offers. The first one is the default.
        scheme: the INT8 quantization scheme.
        fixed_batch: whether the model file is restricted to a single batch size.
    """

    name: str
    complete: Completion
    runtime: str = "onnxruntime"
    provider: str = "cpu"
    precisions: tuple[str, ...] = ("int8", "fp32", *PACKED)
    scheme: Scheme = field(default_factory=Scheme)
    fixed_batch: bool = False

    @property
    def own_kernels(self) -> bool:
        """Whether the engine can use its own kernels for this target."""
        return self.runtime == "onnxruntime" and self.provider == "cpu"

    def computes(self, precision: str) -> str:
        """Return the precision that the target may actually use for computation."""
        return "fp16" if self.provider == "cann" and precision == "fp32" else precision

    def told(self, precision: str) -> str:
        """Return the value of the engine's `--precision` option.

        Most providers ignore this option and read the precision from the model file.
        """
        if self.provider == "tensorrt" or precision == "bf16":
            return precision
        return "fp32"


def target(name: str, **fields: Any) -> Callable[[Completion], Completion]:
    """Return a decorator that registers a function as the target `name`.

    The function completes the deployment folder.

    Args:
        name: the name of the target.
        fields: values for the fields of `Target`.

    Raises:
        ValueError: if the name is already registered.

    >>> from deepseek_learn import deploy
    >>> @deploy.target("my-board", precisions=("fp32",))
    ... def my_board(kit):
    ...     kit.notes.append("Copy the folder to the board and run ./build.sh there.")
    >>> "my-board" in deploy.targets
    True
    """

    def register(complete: Completion) -> Completion:
        targets.register(name)(Target(name, complete, **fields))
        return complete

    return register


@target("cpp-cpu")
def cpp_cpu(kit: Kit) -> None:
    """Complete the folder for a CPU, including the ONNX Runtime library."""
    kit.own_files()
    kit.bundle_library()


@target("openvino", runtime="openvino", precisions=("int8", "bf16", "fp32", *PACKED))
def openvino(kit: Kit) -> None:
    """Complete the folder for a CPU with OpenVINO."""
    kit.own_files()


@target(
    "nvidia-a100",
    provider="tensorrt",
    precisions=("fp16", "int8", "fp32"),
    scheme=Scheme(symmetric=True, float_weights=True, float_biases=True),
    fixed_batch=True,
)
def nvidia_a100(kit: Kit) -> None:
    """Complete the folder for an NVIDIA GPU with TensorRT."""
    kit.own_files()


@target(
    "ascend-910b",
    provider="cann",
    precisions=("fp16", "fp32", "int8"),
    scheme=Scheme(symmetric=True),
    fixed_batch=True,
)
def ascend_910b(kit: Kit) -> None:
    """Complete the folder for a Huawei Ascend NPU with CANN."""
    kit.own_files()
    if kit.precision == "int8":
        kit.lines.append(ReportLine("ascend_int8", UNVERIFIED))


@target(
    "amd-mi300",
    provider="migraphx",
    precisions=("fp16", "int8", "fp32"),
    scheme=Scheme(symmetric=True),
    fixed_batch=True,
)
def amd_mi300(kit: Kit) -> None:
    """Complete the folder for an AMD Instinct GPU with MIGraphX."""
    kit.own_files()
    used = {node.op_type for node in kit.proto.graph.node}
    lines = (FILES / "amd-mi300" / "operators.txt").read_text().splitlines()
    supported = {name for name in lines if not name.startswith("#")}
    missing = ", ".join(sorted(used - supported))
    kit.lines.append(
        ReportLine(
            "operators", UNVERIFIED, len(used & supported), f"/ {len(used)}", missing
        )
    )
