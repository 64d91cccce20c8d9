"""The static checks of an entry, and what of it runs.

An update rule that carries trained weights has to hold them somewhere: in constants, in
settings, in names, or, if it reads its own file, in comments and in the layout. So what
runs is the code alone, as Python prints it, and its compressed size is limited. No
encoding of data gets around that. Strings, numbers and settings have limits of their
own.
"""

import ast
import zlib
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from ..errors import DeepSeekLearnError
from ..escaping import printable

MAX_BYTES = 16 * 1024  # of an entry's source
MAX_COMPRESSED = 4000  # bytes of the compressed code: DeepOpt's 16 KB take 3200
MAX_TEXT, MAX_NUMBERS = 2000, 200  # bytes in all strings; all numbers
MAX_BITS = 64  # of one whole number
MAX_SETTINGS, MAX_SETTING = 16, 40  # of all tasks; characters of one, and of its name


class EntryError(DeepSeekLearnError):
    """Raised if an entry cannot be scored; the message is one sentence that says why.

    It is `printable`, since parts of it come from the entry.
    """

    def __init__(self, message: str):
        super().__init__(printable(message, 1000))


def check_source(source: bytes, name: str) -> None:
    """Refuse a file that is too large, is no Python, or contains data.

    Raises:
        EntryError: with the reason and, where there is one, the line.
    """
    if len(source) > MAX_BYTES:
        raise EntryError(
            f"{name} has {len(source)} bytes; at most {MAX_BYTES} are permitted."
        )
    try:
        tree = _code(source)
        packed = len(zlib.compress(ast.unparse(tree).encode(), 9))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f", line {line}" if line else ""
        reason = getattr(error, "msg", str(error))
        raise EntryError(f"{name}{place}: syntax error: {reason}.") from None
    _check_constants(tree, name)
    if packed > MAX_COMPRESSED:
        raise EntryError(
            f"{name}: data in the source: its code, compressed, has {packed} bytes; at "
            f"most {MAX_COMPRESSED} are permitted."
        )


def _check_constants(tree: ast.Module, name: str) -> None:
    text = numbers = 0
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str | bytes):
            text += len(repr(value).encode())  # as it stands in the code
        is_number = isinstance(value, int | float | complex)
        numbers += is_number and not isinstance(value, bool)
        is_long = isinstance(value, int) and value.bit_length() > MAX_BITS
        if text > MAX_TEXT or numbers > MAX_NUMBERS or is_long:
            raise EntryError(
                f"{name}, line {getattr(node, 'lineno', '?')}: data in the source: a "
                f"file may have at most {MAX_TEXT} bytes in its "
                f"strings, {MAX_NUMBERS} numbers, and {MAX_BITS} bits in a whole number."
            )


def check_settings(settings: Mapping[str, Any], name: str) -> None:
    """Refuse settings that are more than a few numbers and words.

    Raises:
        EntryError: with the first setting that is wrong.
    """
    count = 0
    for task, values in settings.items():
        for key, value in values.items() if isinstance(values, dict) else [("", None)]:
            count += 1
            is_plain = isinstance(value, bool | int | float | str)
            longest = max(len(repr(each)) for each in (task, key, value))
            if not is_plain or longest > MAX_SETTING + 2 or count > MAX_SETTINGS:
                raise EntryError(
                    f"{name}: settings.{task[:MAX_SETTING]}: a file may have at most "
                    f"{MAX_SETTINGS} settings, as [settings.TASK], each a number or a "
                    f"text, with at most {MAX_SETTING} characters."
                )


def stripped(source: bytes) -> str:
    """Return the code without comments, docstrings and layout.

    The process that runs it cannot read there what a reader would take for prose.
    """
    return ast.unparse(_code(source)) + "\n"


def original_line(source: bytes, line: int) -> int:
    """Return the line of the source that a line of the stripped code comes from."""
    pairs = zip(
        _statements(ast.parse(stripped(source))),
        _statements(_code(source)),
        strict=False,
    )
    lines = {ours.lineno: theirs.lineno for ours, theirs in pairs}
    starts = sorted(lines)
    # a decorator stands above the line of its function
    place = min(bisect_left(starts, line), len(starts) - 1)
    return lines[starts[place]] if starts else line


def _code(source: bytes) -> ast.Module:
    return NoProse().visit(ast.parse(source))


class NoProse(ast.NodeTransformer):
    """Remove all statements that are only a constant, such as docstrings."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        blocks = [
            block
            for _, block in ast.iter_fields(node)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt)
        ]
        super().generic_visit(node)
        for block in blocks:
            if not block and not isinstance(node, ast.Module):
                block.append(ast.Pass(lineno=getattr(node, "lineno", 1), col_offset=0))
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node


def _statements(tree: ast.Module) -> list[Any]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.stmt | ast.excepthandler)]
