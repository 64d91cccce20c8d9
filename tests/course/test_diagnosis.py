"""The diagnostic: complete, and its rules say what they promise."""

import itertools
import tomllib
from collections import Counter

import pytest

from deepseek_learn import course
from deepseek_learn.catalog import LANGUAGES
from deepseek_learn.course import diagnosis
from deepseek_learn.errors import DamagedFileError, UnknownNameError
from tests.course.test_questions import FOLDER, parsed

DIAGNOSTIC = course.diagnostic()
SLUGS = {question.slug: question.area for question in DIAGNOSTIC.questions}
TABLES = tomllib.loads((FOLDER / "diagnostic.toml").read_text(encoding="utf-8"))


def without(*areas):
    """The questions outside these areas, as if all of them were answered right."""
    return {slug for slug, area in SLUGS.items() if area not in areas}


def test_twelve_questions_cover_seven_areas():
    assert len(DIAGNOSTIC.questions) == 12
    assert Counter(SLUGS.values()).keys() == {
        *("python", "tensors", "training", "convolution", "attention"),
        *("quantization", "measuring"),
    }


@pytest.mark.parametrize(
    ("right", "lesson", "areas"),
    [
        (without(), "auto_tuner", set()),
        (set(), "tensors_and_training", set(SLUGS.values())),
        (without("python"), "tensors_and_training", {"python"}),
        (without("tensors"), "tensors_and_training", {"tensors"}),
        (without("training"), "tensors_and_training", {"training"}),
        (without("quantization"), "tour", {"quantization"}),
        (without("attention", "measuring"), "tour", {"attention", "measuring"}),
        (without() - {"one_step"}, "auto_tuner", {"training"}),
        (
            without() - {"one_step", "all_pairs"},
            "tensors_and_training",
            {"training", "tensors"},
        ),
        (without() - {"two_names"}, "tensors_and_training", {"python"}),
    ],
)
def test_answers_decide_where_to_begin(right, lesson, areas):
    advice = DIAGNOSTIC.advise(right)
    assert advice.start.lesson.slug == lesson
    assert {reading.area for reading in advice.reading} == areas


def test_python_comes_before_everything_else():
    python = {slug for slug, area in SLUGS.items() if area == "python"}
    some = sorted(SLUGS)[:6]
    for count in range(len(some)):
        for right in itertools.combinations(some, count):
            advice = DIAGNOSTIC.advise(right)
            if not python <= set(right):
                assert advice.start.areas == ("python",)


def test_an_unknown_question_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'one_step'"):
        DIAGNOSTIC.advise({"one_stepp"})


@pytest.mark.parametrize("lang", LANGUAGES)
def test_form_is_well_formed(lang):
    page = course.diagnostic(lang)._repr_html_()
    tree = parsed(page)
    assert tree.count["fieldset"] == 12
    assert tree.count["form"] == 1
    assert page == course.diagnostic(lang)._repr_html_()
    assert "\n\n" not in page
    below = [a["data-below"] for _, a in tree.attributes if "data-below" in a]
    assert below == [str(rule.below) for rule in DIAGNOSTIC.starts]


def test_form_links_to_the_lessons_of_the_course(tmp_path, monkeypatch):
    for folder in ("exercises", "zh/exercises", "notebooks/basic", "deeper"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notebooks/basic/00_tour.ipynb").touch()
    monkeypatch.chdir(tmp_path / "deeper")
    page = course.diagnostic("en")._repr_html_()
    assert 'href="../notebooks/basic/00_tour.ipynb"' in page
    # a notebook that the folder does not have, and a folder without the course
    assert "<code>notebooks/basic/00b_tensors_and_training.ipynb</code>" in page
    monkeypatch.chdir(tmp_path / "notebooks")
    (tmp_path / "exercises").rmdir()
    assert "href" not in course.diagnostic("en")._repr_html_()


def test_unknown_language_is_refused():
    with pytest.raises(ValueError, match="lang must be"):
        course.diagnostic("fr")


def broken(**change):
    return TABLES | change


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (broken(start=[]), r"has no \[\[start\]\]"),
        (broken(start=TABLES["start"][:-1]), "one start without areas, the last one"),
        (broken(start=TABLES["start"][::-1]), "one start without areas, the last one"),
        (broken(read=TABLES["read"][1:]), r"no \[\[read\]\] for the area \['python'\]"),
        (
            broken(start=[{**TABLES["start"][0], "below": 3}]),
            "below = 3; .* 2 questions",
        ),
        (broken(start=[{**TABLES["start"][0], "areas": ["x"]}]), r"area \['x'\]"),
        (broken(start=[{**TABLES["start"][0], "lesson": "x"}]), "lesson 'x'"),
        (broken(read=[{**TABLES["read"][0], "area": "x"}]), "area 'x'"),
        (broken(read=[{**TABLES["read"][0], "text": {"en": "x"}}]), "in en and zh"),
        (broken(question=[{**TABLES["question"][0], "area": ""}]), "without an area"),
    ],
)
def test_a_malformed_rule_is_refused(tables, sentence):
    with pytest.raises(DamagedFileError, match=sentence):
        diagnosis.parse_diagnostic(tables)
