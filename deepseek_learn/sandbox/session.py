"""Call untrusted functions in a sandbox; arguments and results are only data."""

import os
import selectors
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeepSeekLearnError
from ..escaping import printable
from .process import RunningProcess, Sandbox
from .values import ValueRefused, decode, encode

LENGTH = struct.Struct(">Q")
MAX_REPLY = 1 << 28  # bytes of one reply
SERVER = "deepseek_learn.sandbox.serve"


class CodeRaised(DeepSeekLearnError):
    """Raised if the untrusted code raised an exception, or exited before it replied.

    The message is `printable`, since the untrusted code wrote it.

    Attributes:
        kind: the name of the exception's class.
    """

    def __init__(self, kind: str, message: str):
        kind, message = printable(kind, 100), printable(message, 1000)
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind


@dataclass
class Session:
    """An untrusted Python file that has been loaded in a sandbox.

    Attributes:
        sandbox: the sandbox. Its `seconds` limit the total time of all calls; the time
            of the caller between the calls does not count.
        seconds_left: the remaining time for calls.
    """

    sandbox: Sandbox
    running: RunningProcess
    requests: int
    replies: int
    seconds_left: float

    @classmethod
    @contextmanager
    def open(cls, file: str | Path, sandbox: Sandbox) -> Iterator["Session"]:
        """Yield a session of FILE, which lies in the sandbox's folder.

        The file is loaded on the first call.

        Raises:
            SandboxError: if the isolation cannot be set up.
        """
        inbox, requests = os.pipe()
        replies, answers = os.pipe()
        try:
            command = ["python", "-m", SERVER, str(answers), str(Path(file).resolve())]
            with sandbox.started(command, inbox, [answers]) as running:
                for descriptor in (inbox, answers):
                    os.close(descriptor)
                os.set_blocking(requests, False)
                yield cls(sandbox, running, requests, replies, sandbox.seconds)
        finally:
            for descriptor in (requests, replies):
                os.close(descriptor)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the file and return what it returns.

        Raises:
            CodeRaised: if it raises, ends its process, or does not return in time.
            ValueRefused: if an argument or the result is not plain data.
        """
        request = encode([function, list(arguments)])
        self._send(LENGTH.pack(len(request)) + request)
        length = LENGTH.unpack(self._receive(LENGTH.size))[0]
        if length > MAX_REPLY:
            raise ValueRefused(
                f"the reply has {length} bytes; at most {MAX_REPLY} are read."
            )
        match decode(self._receive(length)):
            case ["returned", value]:
                return value
            case ["refused", str(reason)]:
                raise ValueRefused(printable(reason, 1000))
            case ["raised", str(kind), str(message)]:
                raise CodeRaised(kind, message)
        raise ValueRefused("the reply is not the reply to a call.")

    def _send(self, content: bytes) -> None:
        while content:
            self._wait(self.requests, selectors.EVENT_WRITE)
            try:
                content = content[os.write(self.requests, content) :]
            except BrokenPipeError:
                raise self._lost() from None

    def _receive(self, length: int) -> bytes:
        content = bytearray()
        while len(content) < length:
            self._wait(self.replies, selectors.EVENT_READ)
            part = os.read(self.replies, min(length - len(content), 1 << 20))
            if not part:
                raise self._lost()
            content += part
        return bytes(content)

    def _wait(self, descriptor: int, event: int) -> None:
        """Wait until a pipe is ready; only this counts as the time of calls."""
        start = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            ready = selector.select(max(0.0, self.seconds_left))
        self.seconds_left -= time.monotonic() - start
        if not ready:
            limit = f"{self.sandbox.seconds:g} s"
            raise CodeRaised("TimeoutError", f"it was ended after {limit}.")

    def _lost(self) -> CodeRaised:
        """Return the error for a process that exited without a reply."""
        ended = self.running.end(time.monotonic())
        last = (ended.stderr.strip().splitlines() or [""])[-1][:200]
        reason = ended.reason or f"it ended with exit code {ended.returncode}."
        return CodeRaised("Ended", f"{reason} {last}".strip())


def call(file: str | Path, function: str, *arguments: Any, sandbox: Sandbox) -> Any:
    """Load FILE in a sandbox, call one of its functions, and return the result.

    >>> call("work/answer.py", "double", 21, sandbox=box)           # doctest: +SKIP

    Args:
        file: a Python file in the sandbox's folder.
        function: the name of one of its functions.
        arguments: tensors, arrays, numbers, strings, and lists, tuples and dictionaries
            of these. They are sent as JSON and safetensors, as is the result.
        sandbox: the sandbox, whose folder contains the file.

    Raises:
        CodeRaised: if the code raises, exits, or takes too long.
        ValueRefused: if an argument or the result is anything else.
        SandboxError: if the isolation cannot be set up; then nothing was run.
    """
    with Session.open(file, sandbox) as session:
        return session.call(function, *arguments)
