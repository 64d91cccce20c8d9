"""*Find it*: every paper that the library cites, with its file, lesson and benchmarks."""

import re
from functools import cache
from pathlib import Path

import pytest

from deepseek_learn.course.authoring import find_it
from deepseek_learn.course.authoring.import_graph import ImportGraph
from deepseek_learn.course.lessons import lessons

ROOT = Path(__file__).resolve().parents[3]
TAUGHT = ("attention", "dpg", "lm", "optim", "profiler", "tuner", "deploy")
CLASSICS = ("Wilson 1927", "Rasmussen & Williams 2006", "Williams et al. 2009")
# read as plain text, not as `find_it` reads it
NUMBER = re.compile(r"arXiv[\s#]+(\d{4}\.\d{4,5})")
PAPER = 'Hinton et al. 2015, "Distilling the knowledge", arXiv 1503.02531'


@cache
def page(lang: str = "en") -> str:
    return find_it.to_markdown(ROOT, lang)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A library of one package, two files and three benchmarks."""
    tmp_path = (
        tmp_path / "course" / "problems"
    )  # names that mean nothing above the root
    for name, source in {
        "deepseek_learn/__init__.py": "",
        "deepseek_learn/dpg/__init__.py": (
            '"""Lesson: `notebooks/basic/03_quantization.ipynb`."""\n'
            "from .compression import compress\n"
        ),
        "deepseek_learn/dpg/compression.py": "from . import gptq\n",
        "deepseek_learn/dpg/gptq.py": f'"""Rounding ({PAPER})."""\n',
        "benchmarks/quality.py": "from deepseek_learn import dpg\n\ndpg.compress()\n",
        "benchmarks/speed.py": "from models.nets import net\n",
        "benchmarks/models/nets.py": "from deepseek_learn.dpg.gptq import net\n",
        "benchmarks/other.py": "from deepseek_learn import dpg\n",
        "benchmarks/.venv/lib/peer.py": "no Python at all\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def missing(markdown: str) -> set[str]:
    """The papers with an arXiv number that the library cites and a page does not show."""
    sources = [
        path.read_text("utf-8")
        for path in (ROOT / "deepseek_learn").rglob("*.py")
        if "problems" not in path.relative_to(ROOT).parts
    ]
    numbers = {number for source in sources for number in NUMBER.findall(source)}
    assert len(numbers) > 30
    return {number for number in numbers if f"arxiv.org/abs/{number})" not in markdown}


def test_every_paper_is_on_the_page():
    assert missing(page()) == set()
    assert [paper for paper in CLASSICS if paper not in page()] == []


def test_a_page_without_one_paper_is_noticed():
    assert missing(page().replace("2210.17323", "")) == {"2210.17323"}


def test_every_citation_has_the_one_form_and_a_lesson():
    assert find_it.check(ROOT) == []


@pytest.mark.parametrize("package", TAUGHT)
def test_each_module_or_its_package_names_a_lesson(package):
    for path in (ROOT / "deepseek_learn" / package).rglob("*.py"):
        assert find_it._lesson(path, ROOT) in lessons(), path


@pytest.mark.slow
def test_each_lesson_is_linked_in_the_edition_that_has_it():
    links = {
        lang: re.findall(r"\]\((\S*notebooks/\S+)\)", page(lang))
        for lang in ["en", "zh"]
    }
    for lang, folder in (("en", ROOT / "book"), ("zh", ROOT / "zh" / "book")):
        assert links[lang]
        assert {link for link in links[lang] if not (folder / link).is_file()} == set()
    assert "../notebooks/basic/00_tour.ipynb" in links["zh"]


def test_a_lesson_that_is_not_translated_is_linked_in_english(repository):
    link = "../../notebooks/basic/03_quantization.ipynb"
    assert f"（英文）]({link})" in find_it.to_markdown(repository, "zh")
    translated = repository / "zh/notebooks/basic/03_quantization.ipynb"
    translated.parent.mkdir(parents=True)
    translated.touch()
    page = find_it.to_markdown(repository, "zh")
    assert f"]({link.removeprefix('../')})" in page
    assert "（英文）" not in page


def test_a_paper_in_a_docstring_or_a_comment_appears(repository):
    source = repository / "deepseek_learn/dpg/compression.py"
    comment = '# The first rows follow Deb & Goyal 1996,\n# "GeneAS", Informatics 26.\n'
    source.write_text(source.read_text() + comment)
    compression, gptq = find_it.entries(repository)
    assert compression.papers == (("Deb & Goyal 1996", "GeneAS", "Informatics 26"),)
    assert gptq.papers == (
        ("Hinton et al. 2015", "Distilling the knowledge", "arXiv 1503.02531"),
    )
    assert gptq.lesson.slug == "quantization"
    assert (
        "[arXiv 1503.02531](https://arxiv.org/abs/1503.02531)"
        in find_it.to_markdown(repository, "en")
    )


@pytest.mark.parametrize(
    "citation",
    [
        "Distillation (Hinton et al. 2015).",
        "Distillation (arXiv 1503.02531).",
        'Wilson, "Probable inference", JASA 22, 1927, after Milletari 2016.',
    ],
)
def test_a_citation_in_another_form_is_reported(repository, citation):
    source = repository / "deepseek_learn/dpg/compression.py"
    source.write_text(f'"""{citation}"""\n')
    (problem, *_) = find_it.check(repository)
    assert problem.startswith("deepseek_learn/dpg/compression.py: ")
    assert "AUTHORS YEAR" in problem


def test_a_file_without_a_lesson_is_reported(repository):
    (repository / "deepseek_learn/dpg/__init__.py").write_text("")
    (problem,) = find_it.check(repository)
    assert problem.startswith("deepseek_learn/dpg/gptq.py: ")


def test_scripts_are_those_that_import_the_file_or_what_imports_it(repository):
    graph = ImportGraph(repository)
    # speed through a file beside it, quality through a name of the package;
    # other imports the package and takes nothing from it
    assert graph.scripts("deepseek_learn/dpg/gptq.py") == ("quality", "speed")
    assert graph.scripts("deepseek_learn/dpg/compression.py") == ("quality",)


def test_a_file_that_no_script_reaches_has_none(repository):
    (repository / "benchmarks/quality.py").write_text("")
    (repository / "benchmarks/speed.py").write_text("import torch\n")
    assert ImportGraph(repository).scripts("deepseek_learn/dpg/gptq.py") == ()


def test_the_librarys_own_packages_resolve():
    graph = ImportGraph(ROOT)
    assert "dpg_quality" in graph.scripts("deepseek_learn/dpg/gptq.py")  # a lazy name
    assert "attention_learning" in graph.scripts("deepseek_learn/attention/families.py")
    assert graph.scripts("deepseek_learn/dpg/cascade.py") == ("dpg_quality",)


def test_what_a_program_needs(repository):
    """Its imports and what they import in their own package; names in strings too."""
    zoo = repository / "deepseek_learn/zoo"
    zoo.mkdir()
    (zoo / "__init__.py").write_text("from .cards import load\n")
    (zoo / "cards.py").write_text("from ..dpg import compress\n")
    (zoo / "tang_lm.py").write_text("")
    graph = ImportGraph(repository)
    gptq, compression, cards, tang_lm = (
        f"deepseek_learn/{file}.py"
        for file in ("dpg/gptq", "dpg/compression", "zoo/cards", "zoo/tang_lm")
    )
    imports = "from deepseek_learn import dpg, zoo\n"
    assert graph.needs(f"{imports}dpg.compress(1)") == {compression, gptq}
    assert graph.needs(f"{imports}zoo.load('none')") == {cards}
    assert graph.needs(f"{imports}zoo.load('tang_lm')") == {cards, tang_lm}
    assert graph.needs("import torch") == set()
