"""The Anki deck is read back: notes, languages, stable identifiers."""

import sqlite3
import zipfile

import pytest
from typer.testing import CliRunner

from deepseek_learn import course
from deepseek_learn.cli.commands import app
from deepseek_learn.course.authoring import anki
from deepseek_learn.course.lessons import lessons
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.files import REPOSITORY
from tests.services import need

FIELDS = "\x1f"  # between the fields of a note


def notes_of(path, tmp_path):
    """The fields of each note in a package, by their identifier."""
    with zipfile.ZipFile(path) as package:
        package.extract("collection.anki2", tmp_path)
    database = sqlite3.connect(tmp_path / "collection.anki2")
    try:
        rows = database.execute("select guid, flds from notes").fetchall()
    finally:
        database.close()
    notes = dict(rows)
    assert len(notes) == len(rows)
    return {guid: fields.split(FIELDS) for guid, fields in notes.items()}


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    need("genanki")
    folder = tmp_path_factory.mktemp("deck")
    count = anki.write(folder / "a.apkg", REPOSITORY)
    notes = notes_of(folder / "a.apkg", folder)
    assert count == len(notes)
    return notes


def test_every_question_is_there_in_both_languages(deck):
    fronts = [fields[0] for fields in deck.values()]
    for lesson in lessons():
        for lang in ("en", "zh"):
            for question in course.quiz(lesson.slug, lang).questions:
                assert anki.inline(question.text[lang]) in fronts


def test_every_term_of_the_glossary_is_there(deck):
    entries = anki.read_glossary(REPOSITORY / "book" / "glossary.md")
    assert len(entries) > 80
    questions = 10 * len(lessons())  # five in each of two languages
    assert len(deck) == len(entries) + questions
    assert ["accuracy", "准确率"] in [fields[:2] for fields in deck.values()]


def test_a_second_export_has_the_same_identifiers(deck, tmp_path):
    anki.write(tmp_path / "b.apkg", REPOSITORY)
    assert notes_of(tmp_path / "b.apkg", tmp_path) == deck


def test_an_identifier_survives_a_better_wording(deck, tmp_path, monkeypatch):
    real = anki._questions

    def reworded(lang):
        for title, slug, question in real(lang):
            if question.slug == "which_figure":
                question.text["en"] = "Asked in other words?"
            yield title, slug, question

    monkeypatch.setattr(anki, "_questions", reworded)
    anki.write(tmp_path / "c.apkg", REPOSITORY)
    notes = notes_of(tmp_path / "c.apkg", tmp_path)
    assert notes.keys() == deck.keys()
    changed = [guid for guid in notes if notes[guid] != deck[guid]]
    assert [notes[guid][0] for guid in changed] == ["Asked in other words?"]


def test_the_right_answer_stands_on_the_back_only(deck):
    backs = [fields for fields in deck.values() if len(fields) == 4]
    assert backs
    for question, answers, reasons, _ in backs:
        assert "✓" not in question + answers
        assert reasons.count("✓") == 1


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("see {term}`recall 召回率` and {term}`AUROC`", "see recall and AUROC"),
        (
            "its {term}`singular values <singular value 奇异值>` are",
            "its singular values are",
        ),
        ("$-\\log p$ of `x < 1`", "\\(-\\log p\\) of <code>x &lt; 1</code>"),
        ("the *output*", "the <em>output</em>"),
    ],
)
def test_definitions_become_html(source, html):
    assert anki.to_html(source) == html


def test_terms_are_divided_into_both_languages(tmp_path):
    page = tmp_path / "glossary.md"
    terms = ["KL divergence KL 散度\n  How far.", "CPM 指标\n  A mean\n  of seven."]
    terms.append("GPTQ\n  Rounding.")
    block = "\n\n".join(terms)
    page.write_text(f"```{{glossary}}\n{block}\n```\n", encoding="utf-8")
    assert [(e.english, e.chinese, e.definition) for e in anki.read_glossary(page)] == [
        ("KL divergence", "KL 散度", "How far."),
        ("CPM", "指标", "A mean of seven."),
        ("GPTQ", "", "Rounding."),
    ]


def test_other_files_and_a_missing_glossary_are_refused(tmp_path):
    need("genanki")
    with pytest.raises(
        DeepSeekLearnError, match=r"must be a file \*\.apkg; got .*a\.zip"
    ):
        anki.write(tmp_path / "a.zip", REPOSITORY)
    with pytest.raises(DeepSeekLearnError, match="contains no glossary"):
        anki.write(tmp_path / "a.apkg", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_deck(tmp_path):
    need("genanki")
    out = tmp_path / "deck.apkg"
    result = CliRunner().invoke(app, ["author", "anki", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "notes in" in result.output
    assert zipfile.is_zipfile(out)
