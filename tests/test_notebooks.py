"""Every notebook reruns (nbval compares marked cells) and follows the course's rules."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from deepseek_learn.course.authoring import execute
from deepseek_learn.measure.memory import REUSE_FREED
from tests.lessons_of_a_change import chosen

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted(ROOT.glob("notebooks/*/*.ipynb"))
CHINESE = sorted(ROOT.glob("zh/notebooks/*/*.ipynb"))
EXERCISES = sorted(ROOT.glob("exercises/*/*.ipynb"))
NAME = {"argvalues": LESSONS + CHINESE, "ids": lambda p: os.path.relpath(p, ROOT)}
# `make notebook NB=…` chooses one
ONE = os.environ.get("NOTEBOOK")
# A translated lesson has the code of its original, and the starters of the exercises run
# in this process; the monthly run runs all of them in a kernel.
SOME = [ROOT / "zh/notebooks/basic/00_tour.ipynb", EXERCISES[0]]
OTHERS = CHINESE + EXERCISES if os.environ.get("EVERY_NOTEBOOK") else SOME
ANEW = [ROOT / ONE] if ONE else chosen(LESSONS, ROOT) + OTHERS


def cells(path: Path, kind: str = "code") -> list[dict]:
    every = json.loads(path.read_text())["cells"]
    return [c for c in every if c["cell_type"] == kind and "".join(c["source"]).strip()]


def test_there_are_lessons():
    assert len(LESSONS) >= 3
    assert CHINESE


class Cells:
    """Counts the cells that passed."""

    passed = 0

    def pytest_runtest_logreport(self, report):
        self.passed += report.when == "call" and report.passed


def run_anew(path: Path) -> tuple[int, int]:
    """nbval's exit code, and how many cells passed.

    In this process: starting another pytest would take as long as a short notebook. The
    limit of a lesson, 90 s, is measured where its outputs are made (`author run`); here,
    on a machine that may be busy, a cell has 300 s.
    """
    options = ["--nbval-lax", "--nbval-cell-timeout=300", "--nbval-kernel-name=python3"]
    options += ["--capture=no", "--rootdir", str(path.parent), "-c", os.devnull]
    for plugin in ("cacheprovider", "xdist", "timeout"):
        options += ["-p", f"no:{plugin}"]
    cells = Cells()
    return pytest.main([*options, str(path)], plugins=[cells]), cells.passed


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A learner's folder, and the kernel's settings of `deepseek-learn lab`."""
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    for name, value in REUSE_FREED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.notebook
@pytest.mark.parametrize("path", ANEW, ids=NAME["ids"])
def test_runs_anew(path, own_home):
    """In a fresh kernel; marked cells give the same output."""
    code, passed = run_anew(path)
    assert code == pytest.ExitCode.OK
    assert passed


@pytest.mark.slow
@pytest.mark.parametrize("path", EXERCISES, ids=NAME["ids"])
def test_the_starters_of_the_exercises_run(path, own_home, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    shell = InteractiveShell(user_ns={"__name__": "__main__"})
    for cell in cells(path):
        result = shell.run_cell("".join(cell["source"]))
        assert result.success, (cell["id"], result.error_in_exec)


class WithoutWords(ast.NodeTransformer):
    """Replaces each text in a program, which may be translated, and drops `lang`."""

    def visit_keyword(self, node):
        return None if node.arg == "lang" else self.generic_visit(node)

    def visit_Constant(self, node):
        return ast.Constant("…") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node):
        self.generic_visit(node)
        parts = [each for each in node.values if not isinstance(each, ast.Constant)]
        return ast.JoinedStr(parts)


def without_words(cell: dict) -> str:
    code = re.sub(r"(?m)^( *)%.*", r"\1pass", "".join(cell["source"]))
    return ast.dump(WithoutWords().visit(ast.parse(code)))


@pytest.mark.parametrize("path", CHINESE, ids=NAME["ids"])
def test_a_translated_lesson_has_the_code_of_its_original(path):
    original = ROOT / path.relative_to(ROOT / "zh")
    pairs = zip(cells(path), cells(original), strict=True)
    for translated, own in pairs:
        assert translated["id"] == own["id"]
        assert without_words(translated) == without_words(own), own["id"]


@pytest.mark.notebook
@pytest.mark.parametrize("source", ["# NBVAL_CHECK_OUTPUT\nprint(2)", "1 / 0"])
def test_another_output_or_an_error_is_noticed(tmp_path, own_home, source):
    output = nbformat.v4.new_output("stream", name="stdout", text="1\n")
    cell = nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    assert run_anew(tmp_path / "a.ipynb") == (pytest.ExitCode.TESTS_FAILED, 0)


@pytest.mark.parametrize("path", **NAME)
def test_is_committed_executed_without_errors(path):
    for cell in cells(path):
        assert cell["execution_count"], f"{path.name}: {cell['id']} was not run"
        expected = "raises-exception" in cell["metadata"].get("tags", [])
        raised = any(o["output_type"] == "error" for o in cell["outputs"])
        assert raised == expected, f"{path.name}: {cell['id']}"
        assert "site-packages" not in json.dumps(cell["outputs"]), "a machine's path"


@pytest.mark.parametrize("path", **NAME)
def test_shows_nobodys_progress(path):
    for cell in cells(path):
        for output in cell["outputs"]:
            assert execute.PERSONAL not in output.get("metadata", {})
            page = "".join(output.get("data", {}).get("text/html", ""))
            assert not page.startswith("<progress "), f"{path.name}: {cell['id']}"


@pytest.mark.parametrize("path", **NAME)
def test_kept_within_what_its_head_promises_when_it_was_executed(path):
    notebook = json.loads(path.read_text())
    cost, head = notebook["metadata"]["cost"], "".join(notebook["cells"][0]["source"])
    assert re.search(r"90 (seconds|秒)", head)
    assert re.search(r"1\.5 GB", head)
    assert cost["seconds"] <= execute.LIMIT_S
    assert cost["peak_mib"] <= execute.LIMIT_MIB


@pytest.mark.parametrize("path", **NAME)
def test_the_head_says_so_where_cuda_takes_more_than_that(path):
    """The cost is for a CPU build; pip's default on Linux is a CUDA build."""
    notebook = json.loads(path.read_text())
    cost, head = notebook["metadata"]["cost"], "".join(notebook["cells"][0]["source"])
    if cost["peak_mib"] + execute.CUDA_MIB > execute.LIMIT_MIB:
        assert re.search(r"CUDA[^|]*2 GB", head), cost
        assert cost["peak_mib"] + execute.CUDA_MIB <= 2e9 / 2**20


RUN = """import json, sys
from pathlib import Path
from deepseek_learn.course.authoring import execute
from deepseek_learn.measure.memory import REUSE_FREED
from tests.lessons_of_a_change import chosen
execute.LIMIT_S = 600  # the machine may be busy; what is looked at is the memory
((path, cost),) = execute.execute([Path(sys.argv[1])])
print(json.dumps(cost))
"""
WHAT_THE_TOUR_NEEDS = (
    "import torch, timm, elpv_dataset, pandas, plotly, nbclient, ipykernel"
)


def pythons_with_the_course() -> dict[tuple[int, int], str]:
    """Version → an interpreter that has the lab's packages.

    Besides the one that runs the tests: those on the PATH, and those listed in
    DEEPSEEK_LEARN_PYTHONS, such as `/tmp/venv313/bin/python`.
    """
    named = os.environ.get("DEEPSEEK_LEARN_PYTHONS", "").split(os.pathsep)
    named += [shutil.which(f"python3.{minor}") or "" for minor in range(11, 20)]
    result = {sys.version_info[:2]: sys.executable}
    for python in filter(None, named):
        code = f"{WHAT_THE_TOUR_NEEDS}; import sys; print(*sys.version_info[:2])"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
        if done.returncode == 0:
            result.setdefault(tuple(map(int, done.stdout.split())), python)
    return result


@pytest.mark.notebook
@pytest.mark.parametrize("which", [min, max], ids=["oldest", "newest"])
def test_the_tour_keeps_its_promise_on_this_python(which, tmp_path):
    """Also with a CUDA build: newcomers run the tour before they read the advice."""
    result = pythons_with_the_course()
    if which is max and len(result) == 1:
        ours = ".".join(map(str, min(result)))
        pytest.skip(f"the course's packages are installed for Python {ours} only")
    shutil.copy(ROOT / "notebooks/basic/00_tour.ipynb", tmp_path / "tour.ipynb")
    home = {"DEEPSEEK_LEARN_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [result[which(result)], "-c", RUN, str(tmp_path / "tour.ipynb")],
        capture_output=True,
        text=True,
        env=os.environ | home,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["peak_mib"] <= execute.LIMIT_MIB


@pytest.mark.parametrize("path", **NAME)
def test_is_small_and_has_one_start_cell_and_compared_cells(path):
    assert path.stat().st_size < 1e6
    code = cells(path)
    tags = [tag for cell in code for tag in cell["metadata"].get("tags", [])]
    assert tags.count("start") == 1
    assert tags.count("setup") == 1
    assert any("NBVAL_CHECK_OUTPUT" in "".join(cell["source"]) for cell in code)
    texts = cells(path, "markdown")
    written = [c for c in texts if "generated" not in c["metadata"].get("tags", [])]
    assert 20 <= len(code) + len(written) <= 80
    longest = max(code, key=lambda cell: len("".join(cell["source"]).splitlines()))
    assert len("".join(longest["source"]).splitlines()) <= 22, longest["id"]


@pytest.mark.slow
def test_generated_and_translated_files_are_in_step():
    command = [sys.executable, "-m", "deepseek_learn", "author", "check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]])
def test_ruff(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "."]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
