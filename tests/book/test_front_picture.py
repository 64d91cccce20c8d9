"""The front-page figure shows what exists: the library's names, and existing lessons."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import deepseek_learn

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
EDITIONS = {"pipeline.svg": ("README.md", "book/intro.md")}
EDITIONS["pipeline.zh.svg"] = ("README.zh.md", "zh/book/intro.md")
TOOLS = {"AutoTuner", "DeepOpt", "DeploymentWizard", "ModelProfiler", "dpg", "zoo"}
STAGES = {"practical": "practical", "innovation": "innovation", "实战": "practical"}
STAGES["创新"] = "innovation"


def boxes(name: str) -> list[ElementTree.Element]:
    root = ElementTree.parse(ROOT / "book" / "_assets" / name).getroot()
    return [group for group in root.iter(f"{SVG}g") if group.get("data-built")]


def words(box: ElementTree.Element, kind: str) -> str:
    return next(t.text for t in box.iter(f"{SVG}text") if t.get("class") == kind)


@pytest.mark.parametrize("name", EDITIONS)
def test_every_box_is_built_and_every_tool_has_a_box(name):
    shown = {tool for box in boxes(name) for tool in box.get("data-built").split()}
    for tool in shown:
        assert getattr(deepseek_learn, tool) is not None
    assert shown >= TOOLS & set(deepseek_learn.__all__)
    text = (ROOT / "book" / "_assets" / name).read_text("utf-8")
    assert not re.search("planned|dash|计划", text), "what is planned stands elsewhere"


@pytest.mark.parametrize("name", EDITIONS)
def test_the_lessons_it_names_exist(name):
    for box in boxes(name):
        stage, numbers = "basic", []
        for word in re.findall(
            r"\d\d(?:–\d\d)?|[a-z]+|实战|创新", words(box, "lesson")
        ):
            stage = STAGES.get(word, stage)
            if word[0].isdigit():
                first, _, last = word.partition("–")
                numbers += [
                    (stage, n) for n in range(int(first), int(last or first) + 1)
                ]
        assert numbers
        for stage, number in numbers:
            result = list(ROOT.glob(f"notebooks/{stage}/{number:02}_*.ipynb"))
            assert len(result) == 1, (words(box, "name"), stage, number)


@pytest.mark.parametrize("name", EDITIONS)
def test_each_edition_shows_its_own(name):
    for page in EDITIONS[name]:
        assert re.findall(r"pipeline[.\w]*svg", (ROOT / page).read_text("utf-8")) == [
            name
        ]


@pytest.mark.parametrize("name", EDITIONS)
def test_no_word_leaves_its_box(name, browser):
    """Even in a fallback font that is wider than most."""
    page = browser.new_page(viewport={"width": 720, "height": 340})
    page.goto((ROOT / "book" / "_assets" / name).as_uri())
    outside = page.evaluate(
        """() => [...document.querySelectorAll('text')].filter(text => {
             const box = text.parentElement.querySelector('rect').getBoundingClientRect();
             const word = text.getBoundingClientRect();
             return word.left < box.left + 2 || word.right > box.right - 2; })
           .map(text => text.textContent)"""
    )
    page.close()
    assert outside == []
