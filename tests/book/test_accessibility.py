"""axe finds nothing to complain of on pages of every kind, light and dark.

A page is opened from its file and left to draw its figures and formulas. Every rule of axe
counts, those of good practice too. Dark differs by its colors, so there the rules of color
are enough.
"""

import pytest

from tests.services import need

PAGES = (
    "book/intro",
    "book/how_to_use",
    "book/claims",
    "book/versus",
    "book/glossary",
    "book/api",
    "book/industries",
    "book/factory",
    "notebooks/basic/00_tour",  # widgets
    "notebooks/basic/05_profiler",  # plots, formulas
    "exercises/basic/03_quantization",
    "search",
    "zh/book/intro",
    "zh/book/claims",
    "zh/book/glossary",
    "zh/notebooks/basic/00_tour",
)
DRAWN = """() => [...document.querySelectorAll('.ds-plotly')]
  .every(el => el.querySelector('.main-svg'))"""
SETTLED = """scheme => document.documentElement.dataset.theme === scheme
  && !document.getAnimations().some(each => each instanceof CSSTransition)"""
COLORS = {"runOnly": ["color-contrast", "link-in-text-block"]}


@pytest.mark.parametrize("name", PAGES)
def test_axe_reports_no_violation(book, browser, name):
    axe = need("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(color_scheme="light")
    page.goto((book / f"{name}.html").as_uri(), wait_until="load")
    page.wait_for_function(DRAWN)
    for scheme, rules in (("light", None), ("dark", COLORS)):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(SETTLED, arg=scheme)
        results = axe.run(page, options=rules)
        assert results.response["passes"], "axe looked at nothing"
        violations = results.response["violations"]
        assert [brief(each) for each in violations] == [], scheme
    page.close()


def test_axe_sees_what_is_wrong(browser):
    axe = need("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page()
    page.set_content("<img src='data:,'><p style='color:#ccc;background:#fff'>pale</p>")
    names, of_color = (
        {each["id"] for each in axe.run(page, options=rules).response["violations"]}
        for rules in (None, COLORS)
    )
    page.close()
    assert {"image-alt", "color-contrast"} <= names
    assert "color-contrast" in of_color


def brief(violation: dict) -> str:
    places = [str(node["target"]) for node in violation["nodes"]]
    first = violation["nodes"][0]["html"][:160]
    return f"{violation['id']}: {len(places)} x {places[:4]}: {first}"
