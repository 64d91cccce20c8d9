"""Where a model may go. A target is what it wishes for, and a function that completes
its folder; `@target("my-board")` adds one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..registry import Registry
from .kit import FILES, Kit
from .quantize import Scheme
from .result import UNVERIFIED, Line

targets = Registry("target")


@dataclass(frozen=True)
class Target:
    """What a target wishes for.

    Attributes:
        complete: adds to the folder what only this target needs.
        runtime: of the engine, "onnxruntime" or "openvino".
        provider: of ONNX Runtime: "cpu", "tensorrt", "cann" or "migraphx".
        precisions: that the wizard offers; the first is taken where none is asked for.
        scheme: how INT8 is to look.
        fixed_batch: the file is made for one batch size.
    """

    name: str
    complete: Callable[[Kit], None]
    runtime: str = "onnxruntime"
    provider: str = "cpu"
    precisions: tuple[str, ...] = ("int8", "fp32")
    scheme: Scheme = field(default_factory=Scheme)
    fixed_batch: bool = False

    def computes(self, precision: str) -> str:
        """In which precision the target may compute what is asked for."""
        return "fp16" if self.provider == "cann" and precision == "fp32" else precision

    def told(self, precision: str) -> str:
        """What the engine is told of a model's precision; mostly the file says it all."""
        if self.provider == "tensorrt" or precision == "bf16":
            return precision
        return "fp32"


def target(name: str, **wishes) -> Callable[[Callable], Callable]:
    """Decorator: the function completes the folder of the target `name`.

    Args:
        wishes: fields of `Target`.

    Raises:
        ValueError: for a name that is taken.

    >>> @target("my-board", precisions=("fp32",))                   # doctest: +SKIP
    ... def my_board(kit):
    ...     kit.notes.append("Copy the folder to the board and run ./build.sh there.")
    """

    def keep(complete: Callable[[Kit], None]) -> Callable[[Kit], None]:
        targets.register(name)(Target(name, complete, **wishes))
        return complete

    return keep


@target("cpp-cpu")
def cpp_cpu(kit: Kit) -> None:
    """A processor, with nothing installed: the library travels along."""
    kit.own_files()
    kit.bundle_library()


@target("openvino", runtime="openvino", precisions=("int8", "bf16", "fp32"))
def openvino(kit: Kit) -> None:
    """A processor, through OpenVINO."""
    kit.own_files()


@target(
    "nvidia-a100",
    provider="tensorrt",
    precisions=("fp16", "int8", "fp32"),
    scheme=Scheme(symmetric=True, float_weights=True),
    fixed_batch=True,
)
def nvidia_a100(kit: Kit) -> None:
    """An NVIDIA GPU, through TensorRT."""
    kit.own_files()


@target(
    "ascend-910b",
    provider="cann",
    precisions=("fp16", "fp32", "int8"),
    scheme=Scheme(symmetric=True),
    fixed_batch=True,
)
def ascend_910b(kit: Kit) -> None:
    """A Huawei Ascend NPU, through CANN."""
    kit.own_files()
    if kit.precision == "int8":
        kit.lines.append(Line("ascend_int8", UNVERIFIED))


@target(
    "amd-mi300",
    provider="migraphx",
    precisions=("fp16", "int8", "fp32"),
    scheme=Scheme(symmetric=True),
    fixed_batch=True,
)
def amd_mi300(kit: Kit) -> None:
    """An AMD Instinct GPU, through MIGraphX."""
    kit.own_files()
    used = {node.op_type for node in kit.proto.graph.node}
    listed = (FILES / "amd-mi300" / "operators.txt").read_text().splitlines()
    known = {name for name in listed if not name.startswith("#")}
    missing = ", ".join(sorted(used - known))
    kit.lines.append(
        Line("operators", UNVERIFIED, len(used & known), f"/ {len(used)}", missing)
    )
