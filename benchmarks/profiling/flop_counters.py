"""Other tools that count FLOPs: peers of the profiler's benchmark.

They are not dependencies of the project. `install` puts them into a separate environment,
`benchmarks/.venv/profiler_peers`, one at a time, so that one failure does not stop the
others; PyTorch and the project's other packages are shared with it, and pinned.

    PYTHON -m profiling.flop_counters TOOL NET ...

counts in a separate process and prints one JSON line per net.
"""

import contextlib
import importlib.metadata
import io
import json
import logging
import os
import site
import subprocess
import sys
import venv
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from models import profiled_nets

BENCHMARKS = Path(__file__).resolve().parents[1]
HOME = BENCHMARKS / ".venv" / "profiler_peers"
STATUS = HOME / "status.json"  # package → version, or why it is missing
PINNED = ("torch", "torchvision", "numpy", "transformers")
OURS = "deepseek_learn"


@dataclass(frozen=True)
class Tool:
    """How a tool is installed, and its count for `model(x)`, 1 MAC = 2 FLOPs.

    Attributes:
        package: on PyPI; None: part of PyTorch, or ours.
    """

    package: str | None
    count: Callable[[Any, Any], float]


def ours(model, x) -> float:
    from deepseek_learn.profiler import profile

    return profile(model, x, repeats=1, progress=False).flops


def torchinfo(model, x) -> float:
    import torchinfo

    return 2 * torchinfo.summary(model, input_data=x, verbose=0).total_mult_adds


def fvcore(model, x) -> float:
    from fvcore.nn import FlopCountAnalysis

    return (
        2 * FlopCountAnalysis(model, x).total()
    )  # it counts a multiply-add as one flop


def calflops(model, x) -> float:
    from calflops import calculate_flops

    options = {"print_results": False, "output_as_string": False}
    return calculate_flops(model, args=[x], **options)[0]


def _ptflops(model, x, backend: str) -> float:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model,
        tuple(x.shape[1:]),
        input_constructor=lambda _: x,
        as_strings=False,
        print_per_layer_stat=False,
        backend=backend,
    )
    return 2 * macs


def ptflops_pytorch(model, x) -> float:
    return _ptflops(model, x, "pytorch")


def ptflops_aten(model, x) -> float:
    return _ptflops(model, x, "aten")


def thop(model, x) -> float:
    import thop

    return 2 * thop.profile(model, inputs=(x,), verbose=False)[0]


def deepspeed(model, x) -> float:
    from deepspeed.profiling.flops_profiler import get_model_profile

    options = {"print_profile": False, "detailed": False, "as_string": False}
    return get_model_profile(model, args=[x], warm_up=0, **options)[0]


def torch_profiler(model, x) -> float:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as trace:
        model(x)
    return sum(event.flops or 0 for event in trace.key_averages())


def flop_counter_mode(model, x) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


TOOLS = {
    OURS: Tool(None, ours),
    "torchinfo": Tool("torchinfo", torchinfo),
    "fvcore": Tool("fvcore", fvcore),
    "calflops": Tool("calflops", calflops),
    "ptflops (pytorch)": Tool("ptflops", ptflops_pytorch),
    "ptflops (aten)": Tool("ptflops", ptflops_aten),
    "thop": Tool("thop", thop),
    "DeepSpeed": Tool("deepspeed", deepspeed),
    "torch.profiler": Tool(None, torch_profiler),
    "FlopCounterMode": Tool(None, flop_counter_mode),
}


def python() -> str:
    """The peers' interpreter; this one if their environment does not exist."""
    path = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(path) if path.exists() else sys.executable


def installed() -> dict[str, dict[str, str]]:
    """Package → `{"version": ...}` or `{"error": ...}`, for the packages tried."""
    return json.loads(STATUS.read_text()) if STATUS.exists() else {}


def missing(tool: str) -> str | None:
    """Why the tool cannot run; None if it can."""
    package = TOOLS[tool].package
    if package is None:
        return None
    return installed().get(package, {"error": "it is not installed"}).get("error")


def install(packages: Iterable[str]) -> None:
    """Install the missing packages one by one, and record each outcome."""
    if installed().get("torch") != {"version": torch.__version__}:
        _make()
    status = installed()
    for package in packages:
        if "version" not in status.get(package, {}):
            status[package] = _install(package)
            STATUS.write_text(json.dumps(status, indent=1))
            print(f"{package}: {status[package]}", flush=True)


def _make() -> None:
    """Create an environment that also sees this one's packages, after its own."""
    venv.create(HOME, clear=True, with_pip=True)
    places = [p for p in sys.path if p.endswith("-packages")] or site.getsitepackages()
    lines = [f"import site; site.addsitedir({place!r})" for place in places]
    packages = subprocess.check_output(
        [python(), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        text=True,
    )
    Path(packages.strip(), "shared.pth").write_text("\n".join(lines) + "\n")
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in _present()]
    (HOME / "constraints.txt").write_text("\n".join(pins) + "\n")
    STATUS.write_text(json.dumps({"torch": {"version": torch.__version__}}))


def _present() -> list[str]:
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    return [name for name in PINNED if name in names]


def _install(package: str) -> dict[str, str]:
    command = [python(), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command += ["-c", str(HOME / "constraints.txt"), package]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [li for li in result.stderr.splitlines() if "error" in li.lower()]
        return {"error": (lines or ["pip failed"])[-1].strip()[:300]}
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    version = subprocess.check_output([python(), "-c", code], text=True)
    return {"version": version.strip()}


def count(tool: str, nets: Iterable[str], timeout: float = 1800) -> dict[str, Any]:
    """`{"flops": {net: FLOPs}, "failed": {net: why}, "version": ...}` of one tool."""
    nets = list(nets)
    process = child(["profiling.flop_counters", tool, *nets], timeout)
    rows = {row["net"]: row for row in answers(process)}
    unanswered = {"failed": last_words(process)}
    failed = {net: rows.get(net, unanswered).get("failed") for net in nets}
    return {
        "flops": {net: row["flops"] for net, row in rows.items() if "flops" in row},
        "failed": {net: why for net, why in failed.items() if why},
        "version": installed().get(TOOLS[tool].package or "", {}).get("version"),
    }


def child(arguments: list[str], timeout: float, **environment: str):
    """Run a module of this folder in a fresh process of the peers' interpreter."""
    variables = os.environ | environment | {"OMP_NUM_THREADS": "1"}
    command = [python(), "-m", *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False,
            cwd=BENCHMARKS, env=variables, timeout=timeout,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        message = f"it took longer than {timeout:g} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=message)


def answers(process: subprocess.CompletedProcess) -> list[dict[str, Any]]:
    """The JSON lines printed by a child process."""
    return [json.loads(li) for li in process.stdout.splitlines() if li.startswith("{")]


def last_words(process: subprocess.CompletedProcess) -> str:
    return (process.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]


def main(tool: str, nets: list[str]) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for net in nets:
        model, x = profiled_nets.ALL[net].build()
        quiet = contextlib.redirect_stdout(io.StringIO())
        try:
            with quiet, torch.no_grad():
                result = {"flops": float(TOOLS[tool].count(model, x))}
        except Exception as error:  # any error of a tool is its result
            result = {"failed": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps({"net": net} | result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
