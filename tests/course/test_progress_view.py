"""Progress is shown by stage and lesson, with links that lead to the notebooks."""

import re

import pytest

from deepseek_learn import catalog, course
from deepseek_learn.course import problems, record
from deepseek_learn.course.lessons import lesson, lessons
from deepseek_learn.course.progress_view import PERSONAL, Progress
from deepseek_learn.errors import UnknownNameError
from deepseek_learn.files import REPOSITORY

HREF = re.compile(r'href="([^"]+)"')


def passes(*ids):
    row = {"status": "passed", "seed": 0, "library": "0", "time": "2026", "code": None}
    return tuple(
        {"problem": id, "version": problems.get(id).version} | row for id in ids
    )


def test_all_lessons_with_bars_links_and_what_is_next(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    shown = Progress(passes("shift_sum"))
    count = len(problems.names())
    assert f"1 of {count} exercises passed" in shown.why()
    html = shown._repr_html_()
    assert f'<progress value="1" max="{count}"' in html
    for each in lessons():
        assert f'href="notebooks/{each.file}"' in html
        assert f'href="exercises/{each.file}"' in html
    assert html.count("<progress ") == 1 + len(lessons())
    assert html.count("aria-label=") == html.count("<progress ")
    assert "[██···] 1/3  01 Spatial-channel attention" in repr(shown)
    assert "exercises/basic/01_spatial_channel_attention.ipynb" in shown.next()
    assert sum(shown.plot().data[0].x) == problems.get("shift_sum").points


@pytest.mark.parametrize(
    "place", ["notebooks/basic", "exercises/practical", "zh/exercises/basic", "."]
)
@pytest.mark.parametrize("lang", catalog.LANGUAGES)
def test_every_link_leads_to_a_notebook_from_every_folder(place, lang, monkeypatch):
    monkeypatch.chdir(REPOSITORY / place)
    catalog.set_language(lang)
    links = HREF.findall(course.progress()._repr_html_())
    links += HREF.findall(course.progress("tour")._repr_html_())
    assert len(links) > 2 * len(lessons())
    assert [link for link in links if not (REPOSITORY / place / link).is_file()] == []


def test_away_from_the_course_there_are_paths_and_no_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    html = course.progress("tour")._repr_html_()
    assert HREF.findall(html) == []
    assert "<code>exercises/basic/00_tour.ipynb</code>" in html


def test_one_lesson_is_one_line_with_its_open_exercises():
    first, second = lesson("tour").problems
    html = Progress(passes(first), "tour")._repr_html_()
    assert '<progress value="1" max="2"' in html
    assert "<table" not in html
    assert problems.get(second).title["en"] in html
    assert problems.get(first).title["en"] not in html


def test_after_the_last_exercise_comes_the_next_lesson():
    shown = Progress(passes(*lesson("mixture_of_experts").problems), "read_a_ct")
    assert "Still to solve" in shown.next()
    shown = Progress(
        passes(*lesson("mixture_of_experts").problems), "mixture_of_experts"
    )
    assert "notebooks/practical/01_auto_tuner.ipynb" in shown.next()
    shown = Progress(passes(*problems.names()))
    assert shown.next().startswith("There is nothing left")


def test_the_function_reads_the_record(own_home):
    assert course.progress().passed == []
    record._add(list(passes("shift_sum")))
    assert course.progress().passed == ["shift_sum"]
    assert course.progress("tour").passed == []
    assert course.progress("spatial_channel_attention").passed == ["shift_sum"]


def test_an_unknown_lesson_is_refused_before_anything_is_read(own_home):
    own_home.mkdir()
    (own_home / "progress.json").write_text("{")
    with pytest.raises(UnknownNameError, match="'tuor' is not known"):
        course.progress("tuor")


def test_an_output_is_marked_as_personal():
    assert course.progress()._repr_mimebundle_()[1] == {PERSONAL: True}
