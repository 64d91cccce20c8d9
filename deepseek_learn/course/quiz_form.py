"""The quiz of a lesson: a form that a page answers by itself, without a kernel.

The form needs no network, and no id that could occur twice in a page. Its script only
reveals what is already there: where scripts do not run (on GitHub, or in a notebook
that is not trusted), each question keeps a folded list of its answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from ..catalog import choose, language, text
from .display import inline
from .lessons import Lesson, lesson
from .questions import Answer, Question, in_terminal, read_questions

# Text has the theme's own color, since no color contrasts enough with both white and
# black; the colors of the borders have a contrast of 3 with both.
STYLE = """
.ds-quiz{max-width:44rem;line-height:1.5;overflow-wrap:anywhere}
.ds-quiz code{white-space:normal;overflow-wrap:anywhere}
.ds-quiz [data-area]{margin:0 0 1.4em}
.ds-quiz form{margin:0 0 1.6em}
.ds-quiz fieldset{border:0;margin:0;padding:0;min-width:0}
.ds-quiz legend{font-size:1em;font-weight:600;padding:0;margin:0 0 .3em;width:100%}
.ds-quiz label{display:flex;gap:.6em;align-items:baseline;padding:.4em .6em;margin:.25em 0;
border:1px solid #7d7d7d;border-radius:.4em;cursor:pointer}
.ds-quiz label:focus-within{outline:2px solid #3b82c4}
.ds-quiz button{font:inherit;color:inherit;background:transparent;cursor:pointer;
border:1px solid currentColor;border-radius:.4em;padding:.25em 1em;margin:.4em 0}
.ds-quiz button:focus-visible{outline:2px solid #3b82c4;outline-offset:2px}
.ds-quiz [role=status]{margin:.3em 0}
.ds-quiz .ds-yes,.ds-quiz .ds-no{border-left:4px solid;padding-left:.7em}
.ds-quiz .ds-yes{border-color:#2a8a4a}
.ds-quiz .ds-no{border-color:#c0504d}
.ds-quiz li{margin:.2em 0}
.ds-quiz [hidden]{display:none}
"""
# Otherwise JupyterLab takes the arrow keys and Enter for commands. It looks for this
# attribute on the element that has the focus before it looks at any ancestor.
KEYS = 'data-lm-suppress-shortcuts="true"'
QUIZ_SCRIPT = """
document.querySelectorAll(".ds-quiz:not([data-live])").forEach(quiz => {
  quiz.dataset.live = "";
  const forms = [...quiz.querySelectorAll("form")];
  const score = quiz.querySelector(".ds-score");
  const first = new Map();  // form: whether its first answer was right
  forms.forEach(form => {
    const answers = form.querySelector("details");
    const reply = form.querySelector("[role=status]");
    answers.hidden = true;
    Object.assign(form.querySelector("button"), {type: "submit", hidden: false});
    form.addEventListener("submit", event => {
      event.preventDefault();
      const chosen = form.querySelector("input:checked");
      if (!chosen) { reply.textContent = quiz.dataset.choose; return; }
      const reason = answers.querySelectorAll("li")[chosen.value];
      const right = "right" in reason.dataset;
      reply.className = right ? "ds-yes" : "ds-no";
      reply.innerHTML = (right ? quiz.dataset.right : quiz.dataset.wrong) + " " +
        reason.querySelector(".ds-why").innerHTML;
      if (right) answers.hidden = false;
      if (!first.has(form)) first.set(form, right);
      if (first.size === forms.length)
        score.textContent = quiz.dataset.score.replace("{right}",
          [...first.values()].filter(Boolean).length);
    });
  });
});
"""


@dataclass(frozen=True)
class Quiz:
    """The quiz of a lesson, which a notebook displays as a form.

    Attributes:
        lesson: the lesson that it asks about.
        questions: its questions.
        lang: the language in which it is displayed.
    """

    lesson: Lesson
    questions: tuple[Question, ...]
    lang: str | None = None

    def __repr__(self) -> str:
        return in_terminal(self.questions, self.lang)

    def _repr_html_(self) -> str:
        return quiz_form(self)


def quiz(slug: str, lang: str | None = None) -> Quiz:
    """Return the quiz of a lesson; a notebook displays it as a form.

    Args:
        slug: the identifier of the lesson, such as "tour".
        lang: the language; by default, the one that `start` has set.

    Raises:
        UnknownNameError: if there is no such lesson; the message lists all lessons.
        ValueError: if `lang` is neither "en" nor "zh".
        DamagedFileError: if the file of the quiz is missing or malformed.

    >>> from deepseek_learn import course
    >>> len(course.quiz("tour", "en").questions)
    5
    """
    current = lesson(slug)
    text("quiz.check", lang)  # refuses another language
    name = f"{current.stage}_{current.number}_{current.slug}.toml"
    return Quiz(current, read_questions(files(__package__) / "quizzes" / name), lang)


def quiz_form(quiz: Quiz) -> str:
    """Return the HTML of a quiz: one form per question, each with its own reply."""
    lang = quiz.lang or language()
    count = len(quiz.questions)
    data = {key: text(f"quiz.{key}", lang) for key in ("choose", "right", "wrong")} | {
        "score": text("quiz.score", lang, right="{right}", count=count)
    }
    button = submit(text("quiz.check", lang))
    forms = "\n".join(
        f"<form>\n{fieldset(question, number, lang)}\n{button}\n"
        f'<div role="status" aria-live="polite"></div>\n'
        f"{answers_list(question, lang)}\n</form>"
        for number, question in enumerate(quiz.questions, start=1)
    )
    score = '<p class="ds-score" role="status" aria-live="polite"></p>'
    return page(f"{forms}\n{score}", lang, data, QUIZ_SCRIPT)


def page(content: str, lang: str, data: dict[str, str], script: str) -> str:
    """Return a block with its style and script.

    There is no empty line, because one would end the HTML block of a Markdown page.
    """
    attributes = "".join(f' data-{k}="{escape(v)}"' for k, v in data.items())
    block = (
        f'<div class="ds-quiz" lang="{"zh-CN" if lang == "zh" else lang}"'
        f"{attributes}>\n<style>{STYLE}</style>\n"
        f"{content}\n<script>{script}</script>\n</div>"
    )
    return "\n".join(line for line in block.splitlines() if line.strip())


def submit(words: str) -> str:
    """Return the button of a form, which the script reveals and makes its submit button.

    In a notebook that is not trusted, JupyterLab drops the script and `hidden`. A submit
    button would then leave the page.
    """
    return f'<button type="button" {KEYS} hidden>{words}</button>'


def fieldset(question: Question, number: int, lang: str) -> str:
    """Return a question and its answers as a group of radio buttons."""
    rows = "\n".join(
        f'<label><input type="radio" name="{escape(question.slug)}" value="{i}" {KEYS}>'
        f"<span>{inline(choose(answer.text, lang))}</span></label>"
        for i, answer in enumerate(question.answers)
    )
    legend = f"{number}. {inline(choose(question.text, lang))}"
    return f"<fieldset><legend>{legend}</legend>\n{rows}\n</fieldset>"


def answers_list(question: Question, lang: str) -> str:
    """Return the answers in a folded list, each with its reason."""
    summary = f"<summary {KEYS}>{text('quiz.answers', lang)}</summary>"
    return f"<details>{summary}{_reasons(question.answers, lang)}</details>"


def _reasons(answers: Sequence[Answer], lang: str) -> str:
    rows = (
        f"<li{' data-right' if answer.right else ''}>{'✓' if answer.right else '✗'} "
        f"{inline(choose(answer.text, lang))} — "
        f'<span class="ds-why">{inline(choose(answer.why, lang))}</span></li>'
        for answer in answers
    )
    return f"<ol>{''.join(rows)}</ol>"
