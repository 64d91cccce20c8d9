"""Run untrusted code in a process of its own, and get back only data.

>>> from deepseek_learn.sandbox import Sandbox, call                # doctest: +SKIP
>>> box = Sandbox("work", seconds=60, memory_mib=2048)              # doctest: +SKIP
>>> box.run(["python", "train.py"]).returncode                      # doctest: +SKIP
>>> call("answer.py", "shift_sum", 3, sandbox=box)                  # doctest: +SKIP

On Linux with namespaces the code has no network, sees no other process, and reads
only the interpreter, its packages and this library; it writes only to one folder. System
calls that bypass namespaces are refused, and so are new user namespaces (`syscalls.py`).
That also needs a kernel of 5.12 or later, x86-64 or 64-bit ARM, and root or permitted
user namespaces. Elsewhere `isolation()` is "sockets refused": the limits hold and Python
refuses sockets, which stops a mistake but no attacker.
"""

from .process import CompletedProcess, Sandbox, SandboxError, isolation
from .session import CodeRaised, Session, call
from .tree import temporary_folder
from .values import ValueRefused
from .view import copies

__all__ = [
    "CodeRaised",
    "CompletedProcess",
    "Sandbox",
    "SandboxError",
    "Session",
    "ValueRefused",
    "call",
    "copies",
    "isolation",
    "temporary_folder",
]
