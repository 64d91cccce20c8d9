"""Other tools that count FLOPs: peers of the profiler's benchmark.

They are no dependencies of the project. `install` puts them into an environment of their
own, `benchmarks/.venv/profiler_peers`, one at a time, so that one that fails stops none
of the others; PyTorch and what else the project has is shared with it, and pinned.

    PYTHON -m models.flop_counters TOOL NET ...

counts in a process of its own, one JSON line a net.
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
STATUS = HOME / "status.json"  # package → version, or why it is not there
PINNED = ("torch", "torchvision", "numpy", "transformers")
OURS = "deepseek_learn"


@dataclass(frozen=True)
class Tool:
    """How a tool is installed, and what it says of `model(x)`, 1 MAC = 2 FLOPs.

    Attributes:
        package: on PyPI; None: a part of PyTorch, or ours.
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

    return 2 * FlopCountAnalysis(model, x).total()  # its flop is a multiply-add


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
    """The peers' interpreter; this one where their environment was never made."""
    path = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(path) if path.exists() else sys.executable


def installed() -> dict[str, dict[str, str]]:
    """Package → `{"version": ...}` or `{"error": ...}`, of those that were tried."""
    return json.loads(STATUS.read_text()) if STATUS.exists() else {}


def missing(tool: str) -> str | None:
    """Why the tool cannot run; None: it can."""
    package = TOOLS[tool].package
    if package is None:
        return None
    return installed().get(package, {"error": "it is not installed"}).get("error")


def install(packages: Iterable[str]) -> None:
    """Install what is not there yet, each by itself, and note what came of it."""
    if installed().get("torch") != {"version": torch.__version__}:
        _make()
    status = installed()
    for package in packages:
        if "version" not in status.get(package, {}):
            status[package] = _install(package)
            STATUS.write_text(json.dumps(status, indent=1))
            print(f"{package}: {status[package]}", flush=True)


def _make() -> None:
    """An environment that sees this one's packages, behind its own."""
    venv.create(HOME, clear=True, with_pip=True)
    places = [p for p in sys.path if p.endswith("-packages")] or site.getsitepackages()
    lines = [f"import site; site.addsitedir({place!r})" for place in places]
    found = subprocess.check_output(
        [python(), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        text=True,
    )
    Path(found.strip(), "shared.pth").write_text("\n".join(lines) + "\n")
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in _present()]
    (HOME / "constraints.txt").write_text("\n".join(pins) + "\n")
    STATUS.write_text(json.dumps({"torch": {"version": torch.__version__}}))


def _present() -> list[str]:
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    return [name for name in PINNED if name in names]


def _install(package: str) -> dict[str, str]:
    command = [python(), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command += ["-c", str(HOME / "constraints.txt"), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [li for li in done.stderr.splitlines() if "error" in li.lower()]
        return {"error": (lines or ["pip failed"])[-1].strip()[:300]}
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.check_output([python(), "-c", asked], text=True)
    return {"version": found.strip()}


def count(tool: str, nets: Iterable[str], timeout: float = 1800) -> dict[str, Any]:
    """`{"flops": {net: FLOPs}, "failed": {net: why}, "version": ...}` of one tool."""
    nets = list(nets)
    done = child(["models.flop_counters", tool, *nets], timeout)
    found = {row["net"]: row for row in answers(done)}
    unsaid = {"failed": last_words(done)}
    failed = {net: found.get(net, unsaid).get("failed") for net in nets}
    return {
        "flops": {net: row["flops"] for net, row in found.items() if "flops" in row},
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
        said = f"it took longer than {timeout:g} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=said)


def answers(done: subprocess.CompletedProcess) -> list[dict[str, Any]]:
    """The JSON lines that a child printed."""
    return [json.loads(li) for li in done.stdout.splitlines() if li.startswith("{")]


def last_words(done: subprocess.CompletedProcess) -> str:
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]


def main(tool: str, nets: list[str]) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for net in nets:
        model, x = profiled_nets.ALL[net].build()
        quiet = contextlib.redirect_stdout(io.StringIO())
        try:
            with quiet, torch.no_grad():
                said = {"flops": float(TOOLS[tool].count(model, x))}
        except Exception as error:  # whatever a tool stumbles over is its answer
            said = {"failed": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps({"net": net} | said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
