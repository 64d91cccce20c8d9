"""The start page says where the learner is, and keeps what the learner added."""

import re
import shutil

import nbformat
import pytest

from deepseek_learn import catalog, course
from deepseek_learn.course import record, working_copy
from deepseek_learn.course.lessons import lesson, lessons
from deepseek_learn.course.start_notebook import CELL, PAGES, write_start_pages
from deepseek_learn.files import REPOSITORY
from tests.course.test_progress_view import HREF, passes

TOUR = "exercises/basic/00_tour.ipynb"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    work = tmp_path_factory.mktemp("fresh")
    working_copy.refresh(REPOSITORY, work)
    return work


@pytest.fixture
def work(fresh, tmp_path):
    """A working copy of the whole course."""
    return shutil.copytree(fresh, tmp_path / "work")


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def page(path) -> str:
    (cell,) = (cell for cell in read(path).cells if cell.id == CELL)
    return cell.outputs[0].data["text/html"]


def test_a_newcomer_sees_the_first_lesson_and_every_link_leads_somewhere(work):
    assert write_start_pages(work) == [work / name for name in PAGES.values()]
    assert catalog.language() == "en"
    english, chinese = (page(work / name) for name in PAGES.values())
    assert "begin with the first lesson" in english
    assert "从第一课开始" in chinese
    first = lessons()[0]
    assert f'Next: <a href="notebooks/{first.file}">' in english
    for name in PAGES.values():
        markdown = read(work / name).cells[0].source
        links = [
            *HREF.findall(page(work / name)),
            *re.findall(r"\]\((.+?)\)", markdown),
        ]
        assert len(links) > 2 * len(lessons())
        assert [link for link in links if not (work / link).is_file()] == []


def test_it_says_where_the_learner_is(work, own_home):
    record._add(list(passes(lesson("tour").problems[0])))
    write_start_pages(work)
    text = page(work / "START.ipynb")
    assert f"You worked last on “{lesson('tour').title['en']}”" in text
    assert re.search(r"Basic stage: 1 of \d+ exercises passed", text)
    assert re.search(r"about \d+ hours left, exercises included", text)
    assert f'Next: <a href="{TOUR}">' in text


def test_running_its_cell_gives_the_same_page(work, monkeypatch):
    write_start_pages(work)
    monkeypatch.chdir(work)
    for lang, name in PAGES.items():
        shown = course.start_page(lang)
        assert shown._repr_html_() == page(work / name)
        assert repr(shown)
    assert catalog.language() == "zh"


def test_new_versions_are_named(work, monkeypatch):
    notebook = read(work / TOUR)
    notebook.cells[-1].source = "my_answer"
    nbformat.write(notebook, work / TOUR)
    copies = work / working_copy.COPIES
    was = working_copy.digest(REPOSITORY / TOUR)
    copies.write_text(copies.read_text().replace(was, "0" * 64))
    working_copy.refresh(REPOSITORY, work)
    write_start_pages(work)
    assert "exercises/basic/00_tour.new.ipynb is the new" in page(work / "START.ipynb")


def test_cells_that_the_learner_added_stay(work):
    write_start_pages(work)
    notebook = read(work / "START.ipynb")
    notebook.cells.append(nbformat.v4.new_markdown_cell("my notes"))
    nbformat.write(notebook, work / "START.ipynb")
    record._add(list(passes(lesson("tour").problems[0])))
    write_start_pages(work)
    assert read(work / "START.ipynb").cells[-1].source == "my notes"
    assert "You worked last on" in page(work / "START.ipynb")


@pytest.mark.parametrize("content", ["mine", '{"cells": []}'])
def test_a_file_of_the_learner_with_that_name_stays(work, content):
    (work / "START.ipynb").write_text(content)
    write_start_pages(work)
    assert (work / "START.ipynb").read_text() == content


def test_damaged_progress_is_a_sentence_on_the_page(work, own_home):
    own_home.mkdir()
    (own_home / "progress.json").write_text("{")
    write_start_pages(work)
    assert "is not a progress file" in page(work / "START.ipynb")


def test_another_language_is_refused():
    with pytest.raises(ValueError, match='lang must be "en" or "zh"'):
        course.start_page("fr")
