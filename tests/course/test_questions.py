"""Every quiz loads, is complete in both languages, and does not give itself away."""

import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from deepseek_learn import catalog, course
from deepseek_learn.catalog import LANGUAGES
from deepseek_learn.course import questions, quiz_form
from deepseek_learn.course.lessons import lesson, lessons
from deepseek_learn.errors import DamagedFileError, UnknownNameError

FOLDER = Path(str(files("deepseek_learn.course") / "quizzes"))
QUIZZES = {each.slug: course.quiz(each.slug) for each in lessons()}
DIAGNOSTIC = course.diagnostic()
ALL = [question for each in QUIZZES.values() for question in each.questions]
VOID = {"input", "br", "hr", "meta"}
GOOD = """
[[question]]
slug = "one"
text = { en = "What?", zh = "什么？" }
[[question.answers]]
right = true
text = { en = "this", zh = "这个" }
why = { en = "Because.", zh = "因为。" }
[[question.answers]]
text = { en = "that", zh = "那个" }
why = { en = "No.", zh = "不。" }
[[question.answers]]
text = { en = "neither", zh = "都不" }
why = { en = "No.", zh = "不。" }
"""


def has_chinese(text):
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def texts(question):
    yield question.text
    for answer in question.answers:
        yield answer.text
        yield answer.why


@pytest.mark.parametrize("slug", QUIZZES)
def test_each_lesson_has_five_questions(slug):
    assert len(QUIZZES[slug].questions) == 5
    assert QUIZZES[slug].lesson is lesson(slug)


def test_there_is_no_quiz_without_a_lesson():
    names = {f"{each.file.replace('/', '_')}" for each in lessons()}
    expected = {name.replace(".ipynb", ".toml") for name in names}
    assert {path.name for path in FOLDER.glob("*.toml")} == {
        "diagnostic.toml",
        *expected,
    }


@pytest.mark.parametrize(
    "question", [*ALL, *DIAGNOSTIC.questions], ids=lambda q: q.slug
)
def test_question_is_complete(question):
    assert sum(answer.right for answer in question.answers) == 1
    assert question.answers[question.right].right
    for words in texts(question):
        assert set(words) == set(LANGUAGES)
        assert all("$" not in text and "\n" not in text for text in words.values())
    for words in (question.text, *(answer.why for answer in question.answers)):
        assert has_chinese(words["zh"])
        assert re.search(r"[.?:…]$", words["en"])
        assert re.search(r"[。？：…]$", words["zh"]), words["zh"]
    for lang in LANGUAGES:
        shown = [answer.text[lang] for answer in question.answers]
        assert len(set(shown)) == len(shown)


def test_the_position_does_not_give_the_answer_away():
    for count in (3, 4):
        some = [q for q in ALL if len(q.answers) == count]
        positions = Counter(question.right for question in some)
        for place in range(count):  # a third or a quarter, give or take a third of it
            assert abs(positions[place] * count / len(some) - 1) < 1 / 3, (count, place)
    for each in QUIZZES.values():
        assert max(Counter(q.right for q in each.questions).values()) <= 3, each.lesson


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_length_does_not_give_the_answer_away(lang):
    right = Counter()
    for question in ALL:
        lengths = [len(answer.text[lang]) for answer in question.answers]
        own = lengths.pop(question.right)
        right["longest"] += own > max(lengths)
        right["shortest"] += own < min(lengths)
    assert right["longest"] <= 0.4 * len(ALL)
    assert right["shortest"] <= 0.4 * len(ALL)


REASON = {
    "en": re.compile(r"\b(because|since|therefore)\b|, (as|which|so|where|for)\b|: "),
    "zh": re.compile("因为|由于|所以|因此|，那|："),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "question", [*ALL, *DIAGNOSTIC.questions], ids=lambda q: q.slug
)
def test_no_or_every_answer_states_a_reason(question, lang):
    """Otherwise the answer that needs none stands out; reasons belong into `why`."""
    stated = [bool(REASON[lang].search(a.text[lang])) for a in question.answers]
    assert len(set(stated)) == 1, question


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("mark", [",，", ";；", "`", "(（"])
def test_punctuation_does_not_give_the_answer_away(lang, mark):
    alone, right = 0, 0
    for question in ALL:
        marked = [any(m in a.text[lang] for m in mark) for a in question.answers]
        for state in (True, False):
            if marked.count(state) == 1:
                alone += 1
                right += marked.index(state) == question.right
    # of at least three answers one is right; three standard deviations of chance more
    assert right <= alone / 3 + 3 * (alone * 2 / 9) ** 0.5


class Tree(HTMLParser):
    """Fails on a tag that is closed in the wrong order, and counts tags."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.attributes = [], Counter(), []

    def handle_starttag(self, tag, attrs):
        self.count[tag] += 1
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert tree.open == []
    return tree


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("slug", QUIZZES)
def test_form_is_well_formed_and_labeled(slug, lang):
    shown = course.quiz(slug, lang)
    page = shown._repr_html_()
    tree = parsed(page)
    buttons = sum(len(question.answers) for question in shown.questions)
    assert tree.count["fieldset"] == tree.count["legend"] == tree.count["form"] == 5
    assert tree.count["input"] == tree.count["label"] == buttons
    live = [a for _, a in tree.attributes if a.get("aria-live") == "polite"]
    assert len(live) == 6  # one reply per question, and the score
    assert page == course.quiz(slug, lang)._repr_html_()
    assert "\n\n" not in page  # an empty line would end the block in a Markdown page
    assert not re.search(r"https?://|\sid=|[^-]width:\s*\d+px", page)
    assert ('lang="zh-CN"' in page) == (lang == "zh")


def test_text_is_escaped_and_code_is_code():
    words = {"en": "`a < b` & c", "zh": "`a < b` 与 c"}
    answers = tuple(
        questions.Answer({"en": f"{i}", "zh": f"{i}"}, words, right=i == 1)
        for i in range(3)
    )
    quiz = quiz_form.Quiz(lesson("tour"), (questions.Question("q", words, answers),))
    page = quiz._repr_html_()
    assert page.count("<code>a &lt; b</code> &amp; c") == 4


def test_language_is_that_of_start_unless_given(monkeypatch):
    monkeypatch.setattr(catalog, "_current", "zh")
    quiz = course.quiz("tour")
    assert quiz.questions[0].text["zh"] in repr(quiz)
    assert quiz.questions[0].text["en"] in repr(course.quiz("tour", "en"))
    assert "✓" not in repr(quiz)


def test_unknown_lesson_or_language_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'tour'"):
        course.quiz("tuor")
    with pytest.raises(ValueError, match="lang must be"):
        course.quiz("tour", "fr")


WRONG = 'why = { en = "No.", zh = "不。" }'
BROKEN = {
    "two right answers": (WRONG, f"right = true\n{WRONG}"),
    "no right answer": ("right = true\n", ""),
    "a language is missing": (', zh = "这个"', ""),
    "an empty text": ('"什么？"', '" "'),
    "a reason is missing": ('why = { en = "Because.", zh = "因为。" }', ""),
    "two answers": (GOOD[GOOD.rindex("[[question.answers]]") :], ""),
    "an unknown field": ('slug = "one"', 'slug = "one"\nhint = "x"'),
    "no slug": ('slug = "one"', ""),
    "a slug with a space": ('slug = "one"', 'slug = "o ne"'),
    "right is no boolean": ("right = true", "right = 1"),
    "not TOML": ("[[question]]", "[[question"),
    "no question": (GOOD, "\n"),
    "the question is no list": (GOOD, 'question = "one"\n'),
    "the same slug twice": (GOOD, GOOD + GOOD),
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_file_is_refused_with_one_sentence(name, tmp_path):
    old, new = BROKEN[name]
    path = tmp_path / "a.toml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"^a\.toml") as caught:
        questions.read_questions(path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_the_file_that_the_others_are_broken_from_is_read(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(GOOD, encoding="utf-8")
    (question,) = questions.read_questions(path)
    assert (question.slug, question.right, len(question.answers)) == ("one", 0, 3)


def test_a_missing_quiz_is_one_sentence(tmp_path, monkeypatch):
    copy = tmp_path / "quizzes"
    shutil.copytree(FOLDER, copy)
    (copy / "basic_00_tour.toml").unlink()
    monkeypatch.setattr(quiz_form, "files", lambda package: tmp_path)
    with pytest.raises(DamagedFileError, match=r"^basic_00_tour\.toml is missing\.$"):
        course.quiz("tour")
