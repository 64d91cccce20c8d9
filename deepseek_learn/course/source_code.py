"""Compare the code of an answer with the starter, and compute its hash."""

import ast
import dis
import hashlib
import inspect
import textwrap
from types import CodeType, FunctionType
from typing import Any


def is_untouched(answer: Any, starter: Any) -> bool:
    """Return whether the answer is still empty or identical to the starter.

    An answer is empty if it is `...` or if its body is only `...`. The bytecode is
    compared, so comments, docstrings and whitespace make no difference. A body with
    `return None` is considered an answer, and so is a class whose bases differ from
    those of the starter.
    """
    if answer is ...:
        return True
    if isinstance(answer, FunctionType):
        return _is_empty(answer) or _is_starter(answer, starter)
    if isinstance(answer, type):
        return _is_untouched_class(answer, starter)
    return False


def _is_untouched_class(answer: type, starter: Any) -> bool:
    template = starter if isinstance(starter, type) else type("Empty", (), {})
    bases = [[base.__name__ for base in cls.__bases__] for cls in (answer, template)]
    if bases[0] != bases[1]:
        return False
    starter_methods = _methods(template)
    return all(
        _is_empty(method) or _is_starter(method, starter_methods.get(name))
        for name, method in _methods(answer).items()
    )


def code_hash(answer: Any) -> str | None:
    """Return the SHA-256 hash of the answer's source, or None if it is unavailable."""
    try:
        source = inspect.getsource(answer)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source.encode()).hexdigest()


def _empty() -> None: ...


def _is_empty(function: FunctionType) -> bool:
    """Return whether the body of a function is only `...`, `pass` or a docstring.

    A body of `return None` compiles to the same bytecode, but is not considered empty.
    """
    if _code(function) != _code(_empty):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):  # without the source, assume an empty body
        return True
    return not any(isinstance(n, (ast.Return, ast.Lambda)) for n in ast.walk(tree))


def _is_starter(function: FunctionType, starter: Any) -> bool:
    code = _code(function)
    return code == _code(starter) and code != _code(_empty)


def _methods(cls: type) -> dict[str, FunctionType]:
    return {k: v for k, v in vars(cls).items() if isinstance(v, FunctionType)}


def _code(function: Any) -> tuple | None:
    code = (
        function
        if isinstance(function, CodeType)
        else getattr(function, "__code__", None)
    )
    if code is None:
        return None
    return tuple(
        (step.opname, _code(step.argval) if step.opname == "LOAD_CONST" and
         isinstance(step.argval, CodeType) else step.argval)
        for step in dis.get_instructions(code)
    )  # fmt: skip
