"""Both languages have every sentence, and code uses no missing sentence."""

import ast
from pathlib import Path
from string import Formatter

import pytest

from deepseek_learn import catalog, solutions
from deepseek_learn.catalog import LANGUAGES, choose, messages, text
from deepseek_learn.files import REPOSITORY
from deepseek_learn.solutions.page import VerdictReport

FOLDER = Path(catalog.__file__).parent


def placeholders(sentence):
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def literal(node):
    """The key in a call: a literal, or an f-string's fixed prefix."""
    if isinstance(node, ast.JoinedStr):
        return node.values[0].value, False
    return getattr(node, "value", None), True


def used():
    """(key, is it complete) of each `text(...)` and `Failed(...)`, here and in the book."""
    for path in (*FOLDER.rglob("*.py"), *(REPOSITORY / "book").rglob("*.py")):
        if "problems" in path.parts:  # tests/course/test_problems.py looks at these
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "id", None)
            if name in ("text", "Failed", "_explain_os_errors") and node.args:
                key, whole = literal(node.args[0])
                if isinstance(key, str):
                    yield key, whole
    yield from ((key, True) for key in of_solutions())


def of_solutions():
    """The keys that begin with a solution's name, which `solutions.page` looks up."""
    for name in solutions.names():
        solutions.load(name)
    for report in VerdictReport.__subclasses__():
        verdicts = {*report.order} - {"refused"}
        for key in ("title", "bar", "not_for", *verdicts):
            yield f"{report.name}.{key}"


@pytest.mark.parametrize("key", messages())
def test_both_languages_with_the_same_placeholders(key):
    words = messages()[key]
    assert set(words) == set(LANGUAGES)
    assert placeholders(words["en"]) == placeholders(words["zh"])
    # a sentence that is all placeholders has punctuation of its own at least
    assert any(character > "\u2fff" for character in words["zh"])


def test_every_key_that_code_uses_exists():
    keys = set(messages())
    missing = [
        key
        for key, whole in used()
        if not (key in keys if whole else any(k.startswith(key) for k in keys))
    ]
    assert missing == []


def test_no_sentence_is_left_unused():
    whole = {key for key, whole in used() if whole}
    starts = tuple(key for key, whole in used() if not whole)
    assert [k for k in messages() if k not in whole and not k.startswith(starts)] == []


def test_language_chosen_is_spoken():
    catalog.set_language("zh")
    assert text("status.passed") == "通过"
    assert text("status.passed", "en") == "passed"
    assert choose({"en": "a", "zh": "b"}) == "b"


def test_unknown_language_is_refused():
    with pytest.raises(ValueError, match='"en" or "zh"; got \'de\''):
        catalog.set_language("de")
    assert catalog.language() == "en"
