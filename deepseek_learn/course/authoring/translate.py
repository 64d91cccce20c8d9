"""Keep the Chinese edition in step with the English one.

`zh/translated.toml` declares the pages and notebooks that are translated. Each keeps
its path below `zh/` (README.md becomes README.zh.md beside it). Code is shared: code
cells are equal, by cell id, as syntax trees (so comments may be translated); only a
cell tagged `start` may differ, in `lang=`. Text is translated by hand, and bears the
hash of the English text that it translates, so that a change of the English shows:

- a notebook's text cell in its metadata, `i18n.of`;
- a page in a comment on its last line.

`sync` copies what machines can copy, `check` lists what people have to do, and `accept`
says that they have done it.
"""

import ast
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ...errors import DeepSeekLearnError
from ...files import whole
from .links import without_address

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
STAMP = re.compile(r"\n*<!-- translates ([0-9a-f]*) -->\s*\Z")


class TranslationError(DeepSeekLearnError):
    """The declaration of what is translated is missing, or names what is not there."""


@dataclass(frozen=True)
class Pair:
    """One declared page or notebook: its name and where its two editions lie."""

    name: str
    english: Path
    chinese: Path


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
            new = old or _stamped(pair.english.read_text("utf-8"), "")
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
    return problems


def accept(root: str | Path, name: str, cells: Iterable[str] = ()) -> None:
    """Note that the translation of `name` now says what the English says.

    Args:
        root: the repository.
        name: a declared page or notebook, such as `"book/intro.md"`.
        cells: for a notebook, the ids of the text cells; none means all.

    Raises:
        TranslationError: for a name that is not declared, or an id that is no text cell's.
    """
    pairs = {pair.name: pair for pair in declared(root)}
    if name not in pairs:
        known = ", ".join(pairs)
        raise TranslationError(
            f"{name!r} is not declared translated; declared: {known}."
        )
    pair = pairs[name]
    english, wanted = pair.english.read_text("utf-8"), set(cells)
    if pair.english.suffix != ".ipynb":
        _refuse_unknown(name, wanted, [])
        _write(pair.chinese, _stamped(pair.chinese.read_text("utf-8"), digest(english)))
        return
    texts = [c for c in _read(pair.english).cells if c.cell_type != "code"]
    sources = {cell.id: cell.source for cell in texts}
    _refuse_unknown(name, wanted, sources)
    notebook = _read(pair.chinese)
    for cell in notebook.cells:
        if cell.id in (wanted or sources):
            cell.metadata["i18n"] = {"of": digest(sources[cell.id])}
    _write(pair.chinese, nbformat.writes(notebook) + "\n")


def _refuse_unknown(name: str, wanted: set[str], known: Iterable[str]) -> None:
    if unknown := sorted(wanted - set(known)):
        there = ", ".join(known) or "none: it is a page"
        raise TranslationError(
            f"{name} has no text cell {', '.join(unknown)}; there are {there}."
        )


def declared(root: str | Path) -> list[Pair]:
    """What `zh/translated.toml` declares; a name without an English file is refused."""
    root = Path(root)
    path = root / "zh" / "translated.toml"
    if not path.is_file():
        raise TranslationError(f"{path} is missing: it declares what is translated.")
    lists = tomllib.loads(path.read_text("utf-8"))
    pairs = []
    for name in [*lists.get("pages", []), *lists.get("notebooks", [])]:
        beside = name == "README.md"
        chinese = root / "README.zh.md" if beside else root / "zh" / name
        pairs.append(Pair(name, root / name, chinese))
        if not pairs[-1].english.is_file():
            raise TranslationError(f"{path} declares {name!r}, which does not exist.")
    return pairs


def digest(text: str) -> str:
    """The hash that stands for an English text, wherever it is published."""
    said = without_address("\n".join(text.split("\n"))).strip()
    return hashlib.sha256(said.encode()).hexdigest()[:12]


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
            cell.metadata["i18n"] = {"of": ""}
            if before is not None and "i18n" in before.metadata:
                cell.source, cell.metadata["i18n"] = (
                    before.source,
                    before.metadata["i18n"],
                )
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
        elif ours.cell_type != "code":
            of = theirs.metadata.get("i18n", {}).get("of", "")
            if not of:
                yield f"{where}: not translated yet."
            elif of != digest(ours.source):
                yield f"{where}: the translation is behind its English text."
        elif not same_code(ours.source, theirs.source, start=_is_start(ours)):
            yield f"{where}: the code differs."


def _page_problems(pair: Pair) -> Iterator[str]:
    english, chinese = (p.read_text("utf-8") for p in (pair.english, pair.chinese))
    if _stamp_of(pair.chinese) != digest(english):
        yield f"{pair.name}: the translation is behind its English text."
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


def _stamp_of(page: Path) -> str:
    found = STAMP.search(page.read_text("utf-8"))
    return found[1] if found else ""


def _stamped(text: str, of: str) -> str:
    return f"{STAMP.sub('', text).rstrip()}\n\n<!-- translates {of} -->\n"


def _read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def _write(path: Path, text: str) -> None:
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
