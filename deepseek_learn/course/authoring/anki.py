"""Write an Anki deck of the glossary and the quizzes, for spaced repetition.

Each note has an identifier that depends only on what it asks about. A deck that is
imported again therefore updates the notes, and the learner keeps the progress in Anki.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...catalog import LANGUAGES, choose, text
from ...errors import DeepSeekLearnError, require
from ...files import atomic_write
from ..display import inline
from ..lessons import lessons
from ..questions import Question
from ..quiz_form import quiz

if TYPE_CHECKING:
    import genanki

# Anki recognizes models and decks by these numbers. They must never change.
GLOSSARY_MODEL, QUIZ_MODEL = 1_604_226_101, 1_604_226_102
DECKS = {"glossary": 1_604_226_111, "en": 1_604_226_112, "zh": 1_604_226_113}
GLOSSARY = re.compile(r"```\{glossary\}\n(.*?)\n```", re.DOTALL)
ROLE = re.compile(r"\{\w+\}`([^`<]+?)(?: *<[^>`]+>)?`")
TERM = re.compile(r"(.+?) ((?:[A-Z]+ )?[\u4e00-\u9fff].*)")
STYLE = """.card{font-family:sans-serif;font-size:18px;text-align:left;max-width:40em;
margin:auto;line-height:1.5}"""


@dataclass(frozen=True)
class GlossaryTerm:
    """A term of the glossary.

    Attributes:
        english: the term.
        chinese: its Chinese equivalent, or an empty text if there is none.
        definition: what it means, as HTML.
    """

    english: str
    chinese: str
    definition: str


def write(out: str | Path, root: str | Path) -> int:
    """Write the deck to the file `out`.

    Args:
        out: a path that ends in `.apkg`.
        root: the repository, whose `book/glossary.md` is read.

    Returns:
        The number of notes.

    Raises:
        DeepSeekLearnError: if `out` does not end in `.apkg`, or if there is no glossary.
        MissingPackageError: if genanki is missing; the message says how to install it.
    """
    genanki = require("genanki", extra="classroom", purpose="writing an Anki deck")
    if Path(out).suffix != ".apkg":
        raise DeepSeekLearnError(f"out must be a file *.apkg; got {out}.")
    decks = [
        _glossary_deck(genanki, read_glossary(Path(root) / "book" / "glossary.md"))
    ]
    decks += [_quiz_deck(genanki, lang) for lang in LANGUAGES]
    with atomic_write(out) as temporary:
        genanki.Package(decks).write_to_file(str(temporary))
    return sum(len(deck.notes) for deck in decks)


def read_glossary(path: Path) -> list[GlossaryTerm]:
    """Read the terms of the book's glossary.

    Raises:
        DeepSeekLearnError: if the page contains no glossary.
    """
    blocks = GLOSSARY.findall(path.read_text(encoding="utf-8")) if path.exists() else []
    entries = [
        _entry(part) for block in blocks for part in re.split(r"\n(?=\S)", block)
    ]
    if not entries:
        raise DeepSeekLearnError(f"{path} contains no glossary.")
    return entries


def _entry(part: str) -> GlossaryTerm:
    head, *lines = part.splitlines()
    match = TERM.fullmatch(head)
    english, chinese = match.groups() if match else (head, "")
    definition = " ".join(line.strip() for line in lines)
    return GlossaryTerm(english, chinese, to_html(definition))


def to_html(words: str) -> str:
    """Convert a definition to HTML that Anki displays, with its formulas."""
    plain = ROLE.sub(lambda m: _english(m[1]), words)
    plain = re.sub(r"\$([^$]+)\$", r"\\(\1\\)", plain)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", inline(plain))


def _english(term: str) -> str:
    match = TERM.fullmatch(term)
    return match[1] if match else term


def _glossary_deck(genanki: Any, entries: list[GlossaryTerm]) -> "genanki.Deck":
    back = "{{FrontSide}}<hr id=answer>"
    templates = [
        {
            "name": "English",
            "qfmt": "{{English}}",
            "afmt": f"{back}<p>{{{{Chinese}}}}</p>{{{{Definition}}}}",
        },
        {
            "name": "中文",
            "qfmt": "{{#Chinese}}{{Chinese}}{{/Chinese}}",
            "afmt": f"{back}<p>{{{{English}}}}</p>{{{{Definition}}}}",
        },
    ]
    fields = [{"name": name} for name in ("English", "Chinese", "Definition")]
    model = genanki.Model(
        GLOSSARY_MODEL, "DeepSeek Learn: term", fields, templates, STYLE
    )
    deck = genanki.Deck(DECKS["glossary"], "DeepSeek Learn::Glossary 术语")
    for entry in entries:
        values = [html.escape(entry.english), entry.chinese, entry.definition]
        guid = genanki.guid_for("deepseek-learn", "term", entry.english)
        deck.add_note(genanki.Note(model, values, guid=guid))
    return deck


def _quiz_deck(genanki: Any, lang: str) -> "genanki.Deck":
    template = {
        "name": "question",
        "qfmt": "<p><strong>{{Question}}</strong></p>{{Answers}}<p><em>{{Lesson}}</em></p>",
        "afmt": "{{FrontSide}}<hr id=answer>{{Reasons}}",
    }
    names = ("Question", "Answers", "Reasons", "Lesson")
    fields = [{"name": name} for name in names]
    model = genanki.Model(
        QUIZ_MODEL, "DeepSeek Learn: question", fields, [template], STYLE
    )
    deck = genanki.Deck(DECKS[lang], f"DeepSeek Learn::{text('anki.quizzes', lang)}")
    for title, slug, question in _questions(lang):
        values = [inline(choose(question.text, lang)), *_lists(question, lang), title]
        guid = genanki.guid_for("deepseek-learn", slug, question.slug, lang)
        deck.add_note(genanki.Note(model, values, guid=guid))
    return deck


def _questions(lang: str) -> Iterator[tuple[str, str, Question]]:
    """Yield the title and the slug of the lesson, and each of its questions."""
    for lesson in lessons():
        for question in quiz(lesson.slug, lang).questions:
            yield html.escape(choose(lesson.title, lang)), lesson.slug, question


def _lists(question: Question, lang: str) -> tuple[str, str]:
    """Return the answers, and the same list with marks and reasons, as HTML."""
    plain, marked = [], []
    for answer in question.answers:
        words, why = (inline(choose(t, lang)) for t in (answer.text, answer.why))
        plain.append(f"<li>{words}</li>")
        mark = "✓" if answer.right else "✗"
        marked.append(f"<li>{mark} {words}<br><small>{why}</small></li>")
    return f"<ol>{''.join(plain)}</ol>", f"<ol>{''.join(marked)}</ol>"
