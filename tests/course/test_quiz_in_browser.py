"""A quiz and the diagnostic, answered with the keyboard in a real browser, offline."""

import random
import re

import pytest

from deepseek_learn import course
from deepseek_learn.catalog import text
from deepseek_learn.course.quiz_form import STYLE

VIEWPORT = "<meta name=viewport content='width=device-width'>"
HEAD = f"<!doctype html><meta charset=utf-8>{VIEWPORT}"
GROUNDS = (
    "#ffffff",
    "#14181e",
    "#111111",
)  # the book's two themes, JupyterLab's dark one
PHONE = {"width": 360, "height": 740}


@pytest.fixture
def show(browser, tmp_path, monkeypatch):
    """Show a form in a tab as wide as a phone; nothing may be loaded or fail."""
    monkeypatch.chdir(tmp_path)  # outside the course, so that paths are shown
    page = browser.new_page(viewport=PHONE)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_form(form):
        path = tmp_path / "form.html"
        path.write_text(f"{HEAD}<body>{form._repr_html_()}</body>", encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield open_form
    page.close()
    assert [url for url in requests if not url.startswith("file:")] == []
    assert errors == []


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def choose(page, place):
    """Focus the next group of radio buttons and choose the answer at this place."""
    press(page, "Tab", "Space", *["ArrowDown"] * place)


def luminance(color):
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_borders_are_visible_and_text_has_the_colors_of_the_theme():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    colors = set(re.findall(r"#\w{6}", STYLE))
    assert len(colors) >= 4
    for color in colors:  # 3 is WCAG's bound for what is no text
        assert min(contrast(color, ground) for ground in GROUNDS) >= 3, color
    assert set(re.findall(r"[;{]color:([^;}]+)", STYLE)) == {"inherit"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_quiz_is_answered_with_the_keyboard(show, lang):
    quiz = course.quiz("tour", lang)
    page = show(quiz)
    replies = page.locator("form [role=status]")
    for number, question in enumerate(quiz.questions):
        wrong = number == 2  # the third question is wrong at the first attempt
        place = (question.right + wrong) % len(question.answers)
        choose(page, place)
        press(page, "Enter")
        reply = replies.nth(number)
        key = "quiz.wrong" if wrong else "quiz.right"
        why = question.answers[place].why[lang].replace("`", "")
        assert reply.inner_text() == f"{text(key, lang)} {why}"
        summary = page.locator("form").nth(number).locator("summary")
        assert summary.is_visible() != wrong
        press(page, "Tab", *([] if wrong else ["Tab"]))  # the button, the summary
    score = page.locator(".ds-score").inner_text()
    assert score == text("quiz.score", lang, right=4, count=5)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]


def test_checking_without_an_answer_asks_for_one(show):
    page = show(course.quiz("tour"))
    page.locator("button").first.click()
    reply = page.locator("form [role=status]").first
    assert reply.inner_text() == text("quiz.choose")
    assert page.locator(".ds-score").inner_text() == ""


def test_without_scripts_the_answers_are_in_a_folded_list(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(HEAD + course.quiz("tour")._repr_html_())
    assert page.locator("summary:visible").count() == 5
    assert page.locator("button:visible").count() == 0
    assert page.locator("button[type=submit]").count() == 0  # would leave the page
    context.close()


def advice_of(page):
    """The lesson to begin with, and the areas to read about, as the page shows them."""
    shown = page.locator("[role=status]")
    start = shown.locator("[data-below]:visible code").all_inner_texts()
    areas = shown.locator("[data-read]:visible")
    return start, [row.get_attribute("data-read") for row in areas.all()]


def expected(diagnostic, right):
    advice = diagnostic.advise(right)
    start = [f"notebooks/{advice.start.lesson.file}"]
    return start, [reading.area for reading in advice.reading]


def test_the_diagnostic_is_answered_with_the_keyboard(show):
    diagnostic = course.diagnostic()
    page = show(diagnostic)
    for question in diagnostic.questions:
        choose(page, question.right)
    press(page, "Tab", "Enter")
    assert text("diagnostic.score", right=12, count=12) in page.inner_text(
        "[role=status]"
    )
    everything = {question.slug for question in diagnostic.questions}
    assert advice_of(page) == expected(diagnostic, everything)
    assert not page.locator(".ds-reading").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_page_gives_the_advice_of_the_library(show):
    diagnostic, dice = course.diagnostic(), random.Random(0)
    page = show(diagnostic)
    starts = []
    for share in (0.0, 0.5, 0.8, 0.8, 0.9, 0.9, 0.9, 0.95, 0.95, 0.95, 1.0):
        right = {q.slug for q in diagnostic.questions if dice.random() < share}
        for question in diagnostic.questions:
            place = question.right + (question.slug not in right)
            group = page.locator(f"input[name={question.slug}]")
            group.nth(place % len(question.answers)).check()
        page.locator("button").click()
        assert advice_of(page) == expected(diagnostic, right)
        starts.append(diagnostic.advise(right).start)
    assert all(rule in starts for rule in diagnostic.starts)
