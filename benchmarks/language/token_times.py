"""Seconds for a prompt and for a token after it, of llama.cpp and of a packed model."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from deploying.backends import peer_python
from harness.script import BENCHMARKS, Skip

PEER, WORKER = BENCHMARKS / ".venv" / "llama", "language/llama_cpp.py"
PACKAGES = ("xllamacpp==2026.10.*",)
NEW, FIRST = 64, 100  # tokens that are written, and the number of the first one


class Process:
    """An engine in a process of its own, waiting for requests."""

    def __init__(self, command: Sequence[str | Path], library: str):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._answer() != ["ready"]:
            raise Skip(f"{library} does not start here")

    def times(self, read: int) -> tuple[float, float]:
        """The seconds of a prompt, and of a token after it."""
        prompt, token = map(float, self.ask(f"{read} {NEW}"))
        return prompt, token

    def grown(self) -> int:
        """The bytes by which its memory has grown."""
        return int(self.ask("memory")[0])

    def ask(self, line: str) -> list[str]:
        """The words of its answer to one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def close(self) -> None:
        self.process.communicate()


class Peer(Process):
    """llama.cpp."""

    def __init__(self, file: Path, threads: int, context: int):
        python = peer_python(PEER, *PACKAGES)
        command = [python, BENCHMARKS / WORKER, file, str(threads), str(context)]
        super().__init__(command, "llama.cpp")


class Ours:
    """The packed model, decoded in one call per token or called as it is."""

    def __init__(self, model, context: int, clock: Callable[[], float]):
        self.model, self.context, self.clock = model, context, clock

    def fast(self, read: int) -> tuple[float, float]:
        import torch

        from deepseek_learn.lm import Decoding

        decoding = Decoding(self.model, self.context, torch.bfloat16)
        start = self.clock()
        decoding.read(torch.arange(FIRST, FIRST + read))
        middle = self.clock()
        for token in range(NEW):
            decoding.step(FIRST + token)
        return middle - start, (self.clock() - middle) / NEW

    def ordinary(self, read: int) -> tuple[float, float]:
        import torch

        from deepseek_learn.lm import Cache

        with torch.inference_mode():
            cache = Cache(self.model, 1, self.context)
            step = self.model.step(torch.arange(FIRST, FIRST + read)[None], cache)
            self.model.hidden(step)
            start = self.clock()
            for token in range(NEW // 8):
                self.model(torch.tensor([[FIRST + token]]), cache)
        return 0.0, (self.clock() - start) / (NEW // 8)
