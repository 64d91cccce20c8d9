"""The process inside a sandbox that loads an untrusted file and calls its functions.

`python -m deepseek_learn.sandbox.serve DESCRIPTOR FILE` reads requests from its
standard input and writes each reply to the descriptor. From the moment that the file
is loaded, the process cannot be trusted: its replies are parsed as data only.
"""

import os
import struct
import sys
from types import ModuleType
from typing import Any

from .values import ValueRefused, decode, encode

LENGTH = struct.Struct(">Q")


def main() -> None:
    replies, file = int(sys.argv[1]), sys.argv[2]
    # the code's own input and output must not use the pipes
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    module: ModuleType | None = None
    while head := requests.read(LENGTH.size):
        function, arguments = decode(requests.read(LENGTH.unpack(head)[0]))
        try:
            module = module or load(file)
            reply = encode(["returned", getattr(module, function)(*arguments)])
        except ValueRefused as refusal:
            reply = encode(["refused", str(refusal)])
        except BaseException as error:  # SystemExit as well
            reply = encode(["raised", type(error).__name__, message(error)])
        write(replies, LENGTH.pack(len(reply)) + reply)


def load(file: str) -> ModuleType:
    """Execute the file as a module of its own name; its folder is importable."""
    import importlib.util

    sys.path.insert(0, os.path.dirname(file))
    name = os.path.splitext(os.path.basename(file))[0]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the class belongs to the untrusted code
        return ""


def write(descriptor: int, content: bytes) -> Any:
    while content:
        content = content[os.write(descriptor, content) :]


if __name__ == "__main__":
    main()
