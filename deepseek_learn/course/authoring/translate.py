"""Keep the Chinese edition in sync with the English one.

`zh/translated.toml` lists the pages and notebooks that are translated. A translation
has the same path as the original, but under `zh/`. The only exception is README.md,
whose translation is README.zh.md in the same folder. Both editions share their code.
Code cells with the same id must have equal syntax trees, which allows comments to be
translated. In cells with the tag `start`, the argument `lang=` may differ as well. The
text is translated manually, and `lock.py` records which English text each translation
is based on.

`sync` copies everything that can be copied automatically, and `check` lists the
remaining work.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ...files import atomic_write
from . import lock
from .declared import Pair, declared

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sync(root: str | Path = ".") -> list[Path]:
    """Copy code and new text from the English edition to the Chinese edition.

    New text is copied in English. Existing translations are kept even if they are out
    of date; `check` lists them. Outputs are not copied. A Chinese cell keeps its
    outputs if its code has not changed; otherwise, they are cleared.

    Returns:
        The files that changed.
    """
    changed = []
    for pair in declared(root):
        old = pair.chinese.read_text("utf-8") if pair.chinese.exists() else None
        if pair.english.suffix == ".ipynb":
            new = _synced_notebook(pair)
        else:  # a page is copied only once and then maintained by the translator
            new = old or pair.english.read_text("utf-8")
        if new != old:
            _write(pair.chinese, new)
            changed.append(pair.chinese)
    return changed


def check(root: str | Path = ".") -> list[str]:
    """Return a message for each text that is missing, different or out of date."""
    pairs = declared(root)
    problems = list(_undeclared(Path(root), pairs))
    for pair in pairs:
        if not pair.chinese.exists():
            problems.append(f"{pair.name}: there is no Chinese edition.")
        elif pair.english.suffix == ".ipynb":
            problems += _notebook_problems(pair)
        else:
            problems += _page_problems(pair)
    return problems + lock.check(root)


def same_code(english: str, chinese: str, *, start: bool = False) -> bool:
    """Return whether two pieces of code are equal except for comments and whitespace.

    Args:
        start: whether the code comes from a `start` cell, in which the argument `lang=`
            may differ as well.
    """
    return _tree(english, start) == _tree(chinese, start)


def _tree(source: str, start: bool) -> str:
    # An IPython magic is not Python, so it is compared as a string.
    lines = [
        re.sub(r"^(\s*)([%!].*)", lambda m: f"{m[1]}{m[2].strip()!r}", line)
        for line in source.splitlines()
    ]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:  # such as the body of a cell magic
        return source.strip()
    for node in ast.walk(tree) if start else ():
        if isinstance(node, ast.Call):
            node.keywords = [word for word in node.keywords if word.arg != "lang"]
    return ast.dump(tree)


def _is_start(cell: NotebookNode) -> bool:
    return "start" in cell.metadata.get("tags", ())


def _in_chinese(source: str) -> str:
    return re.sub(r'(\bstart\([^()]*?)(?:,\s*lang="\w+")?\)', r'\1, lang="zh")', source)


def _synced_notebook(pair: Pair) -> str:
    notebook = _read(pair.english)
    old = (
        {cell.id: cell for cell in _read(pair.chinese).cells}
        if pair.chinese.exists()
        else {}
    )
    notebook.metadata.pop("widgets", None)  # the state of the English widgets
    for cell in notebook.cells:
        previous = old.get(cell.id)
        if previous is not None and previous.cell_type != cell.cell_type:
            previous = None
        if cell.cell_type == "code":
            _sync_code(cell, previous)
        else:
            if previous is not None:
                cell.source = previous.source
    return nbformat.writes(notebook) + "\n"


def _sync_code(cell: NotebookNode, previous: NotebookNode | None) -> None:
    start = _is_start(cell)
    if previous is not None and same_code(cell.source, previous.source, start=start):
        cell.source, cell.outputs = previous.source, previous.outputs
        cell.execution_count = previous.execution_count
        return
    cell.source = _in_chinese(cell.source) if start else cell.source
    cell.outputs, cell.execution_count = [], None


def _notebook_problems(pair: Pair) -> Iterator[str]:
    english, chinese = _read(pair.english).cells, _read(pair.chinese).cells
    if [cell.id for cell in english] != [cell.id for cell in chinese]:
        ids = [{cell.id for cell in cells} for cells in (english, chinese)]
        difference = ", ".join(sorted(ids[0] ^ ids[1])) or "their order"
        yield f"{pair.name}: the editions differ in their cells ({difference})."
        return
    for original, translation in zip(english, chinese, strict=True):
        where = f"{pair.name}, cell {original.id!r}"
        if original.cell_type != translation.cell_type:
            yield f"{where}: its type differs."
        elif original.cell_type == "code" and not same_code(
            original.source, translation.source, start=_is_start(original)
        ):
            yield f"{where}: the code differs."


def _page_problems(pair: Pair) -> Iterator[str]:
    english, chinese = (p.read_text("utf-8") for p in (pair.english, pair.chinese))
    blocks = [PYTHON_BLOCK.findall(text) for text in (english, chinese)]
    if len(blocks[0]) != len(blocks[1]) or not all(map(same_code, *blocks)):
        yield f"{pair.name}: the Python code differs from the English page."


def _undeclared(root: Path, pairs: list[Pair]) -> Iterator[str]:
    known = {pair.chinese for pair in pairs}
    for folder in ("book", "notebooks"):  # zh/exercises is generated
        for path in sorted((root / "zh" / folder).rglob("*")):
            hidden = any(
                part.startswith((".", "_")) for part in path.relative_to(root).parts
            )
            if path.suffix in (".md", ".ipynb") and path not in known and not hidden:
                name = path.relative_to(root).as_posix()
                yield f"{name}: not declared in zh/translated.toml."


def _read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
