"""Seconds for a prompt and for a token after it, of llama.cpp and of a packed model."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from deploying.backends import peer_python
from harness.script import BENCHMARKS, Skip

PEER, WORKER = BENCHMARKS / ".venv" / "llama", "language/llama_cpp.py"
PACKAGES = ("xllamacpp==2026.10.*",)
NEW, FIRST = 64, 100  # tokens that are written, and the number of the first one


class Peer:
    """llama.cpp, waiting for requests."""

    def __init__(self, file: Path, threads: int, context: int):
        python = peer_python(PEER, *PACKAGES)
        command = [python, BENCHMARKS / WORKER, file, str(threads), str(context)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._answer() != ["ready"]:
            raise Skip("llama.cpp does not start here")

    def times(self, read: int) -> tuple[float, float]:
        """The seconds of a prompt, and of a token after it."""
        self._write(f"{read} {NEW}")
        prompt, token = map(float, self._answer())
        return prompt, token

    def grown(self) -> int:
        """The bytes by which its memory has grown."""
        self._write("memory")
        return int(self._answer()[0])

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _answer(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def close(self) -> None:
        self.process.communicate()


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
