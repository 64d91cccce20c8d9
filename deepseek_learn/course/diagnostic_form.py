"""Display the diagnostic as a form whose page says where to begin.

The page applies the same rules as `Diagnostic.advise`. All the advice is in the page
from the start, hidden, and the script reveals the part that applies.
"""

from collections.abc import Callable, Sequence
from html import escape

from ..catalog import choose, text
from .advice import ReadingRule, StartRule
from .display import inline
from .lessons import Lesson
from .questions import Question
from .quiz_form import answers_list, fieldset, page, submit

Link = Callable[[Lesson], str | None]
SCRIPT = """
document.querySelectorAll(".ds-quiz:not([data-live])").forEach(quiz => {
  quiz.dataset.live = "";
  const form = quiz.querySelector("form");
  const groups = [...form.querySelectorAll("[data-area]")];
  const advice = form.querySelector("[role=status]");
  groups.forEach(group => { group.querySelector("details").hidden = true; });
  Object.assign(form.querySelector("button"), {type: "submit", hidden: false});
  form.addEventListener("submit", event => {
    event.preventDefault();
    const count = {};  // area: how many right answers
    const missed = new Set();
    let total = 0;
    groups.forEach(group => {
      const answers = group.querySelector("details");
      const chosen = group.querySelector("input:checked");
      const right = chosen !== null &&
        "right" in answers.querySelectorAll("li")[chosen.value].dataset;
      const area = group.dataset.area;
      count[area] = (count[area] || 0) + right;
      total += right;
      if (!right) missed.add(area);
      answers.hidden = false;
      group.className = right ? "ds-yes" : "ds-no";
      group.querySelector(".ds-mark").textContent = right ? quiz.dataset.right :
        chosen === null ? quiz.dataset.open : quiz.dataset.wrong;
    });
    const starts = [...advice.querySelectorAll("[data-below]")];
    const start = starts.find(rule => {
      const areas = rule.dataset.areas.split(" ").filter(Boolean);
      const right = areas.reduce((sum, area) => sum + (count[area] || 0), 0);
      return areas.length === 0 || right < +rule.dataset.below;
    });
    starts.forEach(rule => { rule.hidden = rule !== start; });
    const reading = [...advice.querySelectorAll("[data-read]")];
    reading.forEach(row => { row.hidden = !missed.has(row.dataset.read); });
    advice.querySelector(".ds-reading").hidden = missed.size === 0;
    advice.querySelector(".ds-total").textContent =
      quiz.dataset.score.replace("{right}", total);
    advice.classList.add("ds-yes");
  });
});
"""


def diagnostic_form(
    questions: Sequence[Question],
    starts: Sequence[StartRule],
    readings: Sequence[ReadingRule],
    lang: str,
    link: Link | None = None,
) -> str:
    """Return the HTML of the diagnostic.

    Args:
        questions: the questions, each with an area.
        starts: the rules about where to begin.
        readings: what to read after mistakes.
        lang: the language.
        link: a function that returns the address of a lesson. Without one, or without
            an address, the path of the notebook is shown instead.
    """
    blocks = "\n".join(
        f'<div data-area="{escape(question.area)}">\n'
        f"{fieldset(question, number, lang)}\n"
        f'<strong class="ds-mark"></strong>\n{answers_list(question, lang)}\n</div>'
        for number, question in enumerate(questions, start=1)
    )
    button = submit(text("diagnostic.submit", lang))
    data = {key: text(f"quiz.{key}", lang) for key in ("right", "wrong")}
    data["open"] = text("diagnostic.open", lang)
    count = len(questions)
    data["score"] = text("diagnostic.score", lang, right="{right}", count=count)
    advice = _advice(starts, readings, lang, link)
    form = f"<form>\n{blocks}\n{button}\n{advice}\n</form>"
    return page(form, lang, data, SCRIPT)


def _advice(
    starts: Sequence[StartRule],
    readings: Sequence[ReadingRule],
    lang: str,
    link: Link | None,
) -> str:
    rules = "\n".join(_start(rule, lang, link) for rule in starts)
    rows = "\n".join(_reading(each, lang, link) for each in readings)
    reading = f"<p>{text('diagnostic.read', lang)}</p>\n<ul>\n{rows}\n</ul>"
    return (
        '<div role="status" aria-live="polite">\n<p class="ds-total"></p>\n'
        f'{rules}\n<div class="ds-reading" hidden>\n{reading}\n</div>\n</div>'
    )


def _start(rule: StartRule, lang: str, link: Link | None) -> str:
    where = f'data-areas="{escape(" ".join(rule.areas))}" data-below="{rule.below}"'
    place = _place(rule.lesson, lang, link)
    return f"<p {where} hidden>{inline(choose(rule.text, lang))} {place}</p>"


def _reading(reading: ReadingRule, lang: str, link: Link | None) -> str:
    place = f" {_place(reading.lesson, lang, link)}" if reading.lesson else ""
    words = inline(choose(reading.text, lang))
    return f'<li data-read="{escape(reading.area)}" hidden>{words}{place}</li>'


def _place(lesson: Lesson, lang: str, link: Link | None) -> str:
    href = link(lesson) if link else None
    if href:
        title = escape(choose(lesson.title, lang))
        return f'<a href="{escape(href)}">{title}</a>'
    return f"<code>notebooks/{lesson.file}</code>"
