"""What lessons, exercises, benchmarks and pages import from the library exists.

They run seldom or in turn; a name that was renamed is noticed here at once.
"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "notebooks",
    "zh/notebooks",
    "exercises",
    "zh/exercises",
    "benchmarks",
    "book",
    "tests",
)
BLOCK = re.compile(r"^```(?:python|\{code-cell\}).*\n((?s:.*?))^```", re.MULTILINE)


def programs(path: Path) -> list[str]:
    """The source code in a file: a script, a notebook's cells, a page's blocks."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return [text]
    if path.suffix == ".md":
        return BLOCK.findall(text)
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    return [re.sub(r"(?m)^( *)[%!].*", r"\1pass", source) for source in sources]


def imports(code: str) -> set[tuple[str, str]]:
    """(module, name) of each `from deepseek_learn… import name`."""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a page's excerpt
        return set()
    return {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level
        if (node.module or "").partition(".")[0] == "deepseek_learn"
        for alias in node.names
    }


def exists(module: str, name: str) -> bool:
    try:
        if hasattr(importlib.import_module(module), name):
            return True
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError as error:
        # a peer that is not installed says nothing of our names
        return not (error.name or "").startswith("deepseek_learn")
    return True


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_imported_name_exists(folder):
    kinds = (".py", ".ipynb", ".md")
    paths = [p for p in (ROOT / folder).rglob("*") if p.suffix in kinds]
    paths = [p for p in paths if not {"results", ".venv"} & {*p.parts}]
    used = {pair for path in paths for code in programs(path) for pair in imports(code)}
    assert used
    assert {pair for pair in used if not exists(*pair)} == set()


def test_a_name_that_is_gone_is_noticed():
    code = "from deepseek_learn.dpg import compress, squeeze\nimport torch"
    found = {name: exists(module, name) for module, name in imports(code)}
    assert found == {"compress": True, "squeeze": False}
