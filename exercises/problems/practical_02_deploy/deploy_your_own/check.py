"""Deploy the learner's own model, and run it outside the course's environment."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CLEAN = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
LEAST = 60  # minimum score in points, above chance for two classes
SECONDS = 120.0  # for `verify.sh`


def check(answer, rng) -> None:
    expect.function(answer, "deploy")
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as place:
        folder = Path(place) / f"deployed_{rng.integers(1_000_000)}"
        expect.call(answer, folder)
        report = folder / "report.json"
        if not report.exists():
            raise Failed("folder", folder=folder.name)
        inspect(read(report.read_text(errors="replace"), folder))
        run(folder)


def read(report: str, folder: Path) -> dict:
    """Return the wizard's report, its lines by name."""
    try:
        facts = json.loads(report)
        lines = {line["what"]: line["value"] for line in facts["lines"]}
        sizes = float(lines["size"]), float(lines["size_before"])
        metric = float(lines["metric"]) if "metric" in lines else None
        kinds = {key: facts[key] for key in ("target", "precision")}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Failed("report", folder=folder.name) from None
    return kinds | {"sizes": sizes, "metric": metric}


def inspect(facts: dict) -> None:
    if facts["target"] not in ("cpp-cpu", "openvino"):
        raise Failed("target", got=facts["target"])
    if facts["precision"] != "int8":
        raise Failed("precision", got=facts["precision"])
    size, before = facts["sizes"]
    if size > 0.5 * before:
        raise Failed("size")
    if facts["metric"] is None:
        raise Failed("metric")
    if not facts["metric"] >= LEAST:
        raise Failed("trained", got=facts["metric"], least=LEAST)


def run(folder: Path) -> None:
    """Run `verify.sh` in a moved folder, without this process's environment."""
    new_folder = folder.with_name("elsewhere")
    os.rename(folder, new_folder)
    command = ["bash", str(new_folder / "verify.sh")]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env=CLEAN,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Failed("slow", seconds=f"{SECONDS:g}") from None
    stdout, stderr = (
        each.decode(errors="replace") for each in (result.stdout, result.stderr)
    )
    if result.returncode:
        stderr = (stderr.strip() or "?").splitlines()[-1]
        raise Failed("run", said=stderr)
    try:
        selfcheck = json.loads(stdout)["selfcheck"]
        passed, samples = selfcheck["passed"] is True, int(selfcheck["samples"])
    except (ValueError, TypeError, KeyError):
        stdout = stdout.strip()[-200:] or "—"
        raise Failed("output", said=stdout) from None
    if not passed or samples < 2:
        raise Failed("check", samples=samples)
