"""The samplers of `tuner_peers.py`: asked for configurations, told their values."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, Protocol, Self

import optuna
from deploying.backends import peer_python
from harness.script import BENCHMARKS
from optuna.distributions import distribution_to_json

from deepseek_learn.tuner import GeneticSampler

from .asked import PACKAGES
from .problems import Problem

ENVIRONMENT, WORKER = BENCHMARKS / ".venv" / "samplers", "tuning/asked.py"
OPTUNA: dict[str, Callable[[int, bool], Any]] = {
    "GeneticSampler": lambda seed, _: GeneticSampler(seed=seed),
    "without surrogate": lambda seed, _: GeneticSampler(seed=seed, surrogate=False),
    "GPSampler": lambda seed, noise: optuna.samplers.GPSampler(
        seed=seed, deterministic_objective=not noise
    ),
    "TPE": lambda seed, _: optuna.samplers.TPESampler(seed=seed),
    "NSGA-II": lambda seed, _: optuna.samplers.NSGAIISampler(
        seed=seed, population_size=20
    ),
    "random": lambda seed, _: optuna.samplers.RandomSampler(seed=seed),
}
ELSEWHERE = ("SMAC3", "pymoo NSGA-III", "BoTorch")


class Contestant(Protocol):
    seconds: float  # processor time so far

    def ask(self) -> dict[str, Any]: ...
    def tell(self, values: list[float]) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class Ours:
    """A sampler of Optuna's kind, in this process."""

    def __init__(self, name: str, problem: Problem, seed: int):
        sampler = OPTUNA[name](seed, problem.noise > 0)
        directions = ["minimize"] * len(problem.reference)
        self.study = optuna.create_study(directions=directions, sampler=sampler)
        self.space, self.seconds = problem.space, 0.0

    def ask(self) -> dict[str, Any]:
        start = time.process_time()
        self.trial = self.study.ask(self.space)
        self.seconds += time.process_time() - start
        return self.trial.params

    def tell(self, values: list[float]) -> None:
        start = time.process_time()
        self.study.tell(self.trial, values)
        self.seconds += time.process_time() - start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Elsewhere:
    """A sampler of another library, in a process and an environment of its own."""

    def __init__(self, name: str, problem: Problem, seed: int):
        python = peer_python(ENVIRONMENT, *PACKAGES)
        self.process = subprocess.Popen(
            [python, BENCHMARKS / WORKER, name, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        space = {n: distribution_to_json(d) for n, d in problem.space.items()}
        self._write({"space": space, "objectives": len(problem.reference)})
        self.seconds = 0.0

    def ask(self) -> dict[str, Any]:
        return self._answer(None)["config"]

    def tell(self, values: list[float]) -> None:
        self._answer(values)

    def _answer(self, message: Any) -> dict[str, Any]:
        self._write(message)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of a sampler ended: {self.process.args}")
        answer = json.loads(line)
        self.seconds += answer["seconds"]
        return answer

    def _write(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


def contestant(name: str, problem: Problem, seed: int) -> Contestant:
    return (Elsewhere if name in ELSEWHERE else Ours)(name, problem, seed)
