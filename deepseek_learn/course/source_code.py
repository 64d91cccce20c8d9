"""What can be told of an answer from its code: is it still the starter, its hash."""

import dis
import hashlib
import inspect
from types import CodeType, FunctionType
from typing import Any


def is_untouched(answer: Any, starter: Any) -> bool:
    """Whether `answer` is still `...`, has only `...` for a body, or is the starter.

    Compared by bytecode: comments, docstrings and spacing make no difference, and no
    source file is needed.
    """
    if answer is ...:
        return True
    if isinstance(answer, FunctionType):
        return _code(answer) in (_code(_empty), _code(starter))
    if isinstance(answer, type):
        methods = _methods(answer)
        given = _methods(starter) if isinstance(starter, type) else {}
        return all(code in (_code(_empty), given.get(k)) for k, code in methods.items())
    return False


def code_hash(answer: Any) -> str | None:
    """sha256 of the source of a function or class; None for what has no source."""
    try:
        source = inspect.getsource(answer)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source.encode()).hexdigest()


def _empty(): ...


def _methods(cls: type) -> dict[str, tuple]:
    found = {k: v for k, v in vars(cls).items() if isinstance(v, FunctionType)}
    return {name: _code(method) for name, method in found.items()}


def _code(function: Any) -> tuple | None:
    code = (
        function if isinstance(function, CodeType) else getattr(function, "__code__", 0)
    )
    if not code:
        return None
    return tuple(
        (step.opname, _code(step.argval) if step.opname == "LOAD_CONST" and
         isinstance(step.argval, CodeType) else step.argval)
        for step in dis.get_instructions(code)
    )  # fmt: skip
