"""axe finds nothing to complain of on pages of every kind, light and dark.

A page is opened from its file and left to draw its figures and formulas. Every rule of axe
counts, those of good practice too. The rules of color take most of the time and look only
at how an element is drawn, so elements drawn alike are looked at a few times, not a
thousand times; they are looked at in light and in dark.
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
    "book/api/profiler",
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
OF_COLOR = ("color-contrast", "link-in-text-block")
COLORS = {"runOnly": OF_COLOR}
OTHERS = {"rules": {name: {"enabled": False} for name in OF_COLOR}}
FEW = 4
# keeps the first few of the elements that share tags, classes and styles up to the root;
# from the leaves up, since an element that has lost all its children becomes a leaf
THIN = """most => {
  let before = 0, elements = []
  do {
    before = elements.length
    const seen = new Map()
    for (const element of elements) {
      if (element.childElementCount) continue
      let kind = ''
      for (let each = element; each; each = each.parentElement)
        kind += [each.tagName, each.getAttribute('class'), each.getAttribute('style')]
      seen.set(kind, (seen.get(kind) ?? 0) + 1)
      if (seen.get(kind) > most) element.remove()
    }
    elements = [...document.querySelectorAll('body *')]
  } while (elements.length !== before)
}"""


@pytest.mark.parametrize("name", PAGES)
def test_axe_reports_no_violation(book, browser, name):
    axe = need("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(color_scheme="light")
    page.goto((book / f"{name}.html").as_uri(), wait_until="load")
    page.wait_for_function(DRAWN)
    assert violations(axe, page, OTHERS) == []
    page.evaluate(THIN, FEW)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(SETTLED, arg=scheme)
        assert violations(axe, page, COLORS) == [], scheme
    page.close()


def test_axe_sees_what_is_wrong(browser):
    axe = need("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page()
    page.set_content("<img src='data:,'><p style='color:#ccc;background:#fff'>pale</p>")
    others, colors = violations(axe, page, OTHERS), violations(axe, page, COLORS)
    page.close()
    assert any(each.startswith("image-alt") for each in others)
    assert [each.split(":")[0] for each in colors] == ["color-contrast"]


def test_what_is_thinned_out_keeps_each_color(browser):
    page = browser.new_page()
    cells = "".join(
        f"<td class='{'pale' if n % 2 else ''}'>{n}</td>" for n in range(60)
    )
    page.set_content(f"<article><table><tr>{cells}</tr></table><b>1</b></article>")
    page.evaluate(THIN, FEW)
    classes = page.evaluate(
        "() => [...document.querySelectorAll('td')].map(e => e.className)"
    )
    assert sorted(classes) == FEW * [""] + FEW * ["pale"]
    assert page.locator("b").count() == 1
    page.close()


def violations(axe, page, rules: dict) -> list[str]:
    results = axe.run(page, options=rules).response
    assert results["passes"] or results["violations"], "axe looked at nothing"
    return [brief(each) for each in results["violations"]]


def brief(violation: dict) -> str:
    places = [str(node["target"]) for node in violation["nodes"]]
    first = violation["nodes"][0]["html"][:160]
    return f"{violation['id']}: {len(places)} x {places[:4]}: {first}"
