"""Keep the Chinese edition in step with the English one.

`zh/translated.toml` declares the pages and notebooks that are translated. Each keeps
its path below `zh/` (README.md becomes README.zh.md beside it). Code is shared: code
cells are equal, by cell id, as syntax trees (so comments may be translated); only a
cell tagged `start` may differ, in `lang=`. Text is translated by hand; `lock.py` knows
which English it was translated from.

`sync` copies what machines can copy, `check` lists what people have to do.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ...files import whole
from . import lock
from .declared import Pair, declared

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sync(root: str | Path = ".") -> list[Path]:
    """Copy code into the Chinese notebooks; text that is new comes in English.

    Translated text stays, also when it is behind (`check` lists it). Outputs are not
    copied: a cell keeps its own while its code is the same, and is executed anew else.

    Returns:
        The files that changed.
    """
    changed = []
    for pair in declared(root):
        old = pair.chinese.read_text("utf-8") if pair.chinese.exists() else None
        if pair.english.suffix == ".ipynb":
            new = _synced_notebook(pair)
        else:  # no code to copy: a page starts as a copy, then is the translator's
            new = old or pair.english.read_text("utf-8")
        if new != old:
            _write(pair.chinese, new)
            changed.append(pair.chinese)
    return changed


def check(root: str | Path = ".") -> list[str]:
    """One sentence for each thing that is missing, differs, or is behind."""
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
    """Equal up to comments and spacing; in a `start` cell also up to `lang=`."""
    return _tree(english, start) == _tree(chinese, start)


def _tree(source: str, start: bool) -> str:
    # A magic is no Python: it is compared as the string that it is.
    lines = [
        re.sub(r"^(\s*)([%!].*)", lambda m: f"{m[1]}{m[2].strip()!r}", line)
        for line in source.splitlines()
    ]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:  # such as a cell magic's body
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
    notebook.metadata.pop("widgets", None)  # the state of English widgets
    for cell in notebook.cells:
        before = old.get(cell.id)
        if before is not None and before.cell_type != cell.cell_type:
            before = None
        if cell.cell_type == "code":
            _sync_code(cell, before)
        else:
            if before is not None:
                cell.source = before.source
    return nbformat.writes(notebook) + "\n"


def _sync_code(cell: NotebookNode, before: NotebookNode | None) -> None:
    start = _is_start(cell)
    if before is not None and same_code(cell.source, before.source, start=start):
        cell.source, cell.outputs = before.source, before.outputs
        cell.execution_count = before.execution_count
        return
    cell.source = _in_chinese(cell.source) if start else cell.source
    cell.outputs, cell.execution_count = [], None


def _notebook_problems(pair: Pair) -> Iterator[str]:
    english, chinese = _read(pair.english).cells, _read(pair.chinese).cells
    if [cell.id for cell in english] != [cell.id for cell in chinese]:
        ours, theirs = ({cell.id for cell in cells} for cells in (english, chinese))
        differ = ", ".join(sorted(ours ^ theirs)) or "their order"
        yield f"{pair.name}: the editions differ in their cells ({differ})."
        return
    for ours, theirs in zip(english, chinese, strict=True):
        where = f"{pair.name}, cell {ours.id!r}"
        if ours.cell_type != theirs.cell_type:
            yield f"{where}: its type differs."
        elif ours.cell_type == "code" and not same_code(
            ours.source, theirs.source, start=_is_start(ours)
        ):
            yield f"{where}: the code differs."


def _page_problems(pair: Pair) -> Iterator[str]:
    english, chinese = (p.read_text("utf-8") for p in (pair.english, pair.chinese))
    blocks = [PYTHON_BLOCK.findall(text) for text in (english, chinese)]
    if len(blocks[0]) != len(blocks[1]) or not all(map(same_code, *blocks)):
        yield f"{pair.name}: the Python code differs from the English page's."


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
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
