"""Every page of the book, opened from its file in a real browser, offline."""

import pytest

DRAWN = "() => document.querySelectorAll('.ds-plotly .main-svg').length > 0"
TYPESET = "() => document.querySelectorAll('mjx-container mjx-math').length > 0"


@pytest.fixture
def tab(browser):
    """A tab that records each external request and each page error."""
    page = browser.new_page()
    page.outside, page.errors = [], []
    local = ("file:", "data:", "blob:")
    page.on(
        "request",
        lambda r: None if r.url.startswith(local) else page.outside.append(r.url),
    )
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def opened(tab, path):
    tab.goto(path.as_uri(), wait_until="load")
    if 'http-equiv="refresh"' in path.read_text().lower():
        # the front page redirects: wait before opening the next page
        tab.wait_for_url(lambda url: url != path.as_uri())
    return tab


def test_every_page_is_quiet_and_drawn(book, tab):
    figures = formulas = 0
    for path in sorted(book.rglob("*.html")):
        text = path.read_text()
        opened(tab, path)
        if 'class="ds-plotly"' in text:
            tab.wait_for_function(DRAWN, timeout=20_000)
            figures += 1
        if 'class="math' in text:
            tab.wait_for_function(TYPESET, timeout=20_000)
            formulas += 1
        name = path.relative_to(book).as_posix()
        assert (tab.outside, tab.errors) == ([], []), name
    assert figures, "no page has a plotly figure"
    assert formulas, "no page has a formula"


def test_the_language_link_goes_there_and_back(book, tab):
    start = book / "notebooks" / "basic" / "00_tour.html"
    opened(tab, start)
    tab.click(".lang-switch")
    assert tab.url == (book / "zh" / "notebooks/basic/00_tour.html").as_uri()
    assert tab.get_attribute("html", "lang").startswith("zh")
    tab.click(".lang-switch")
    assert tab.url == start.as_uri()


CONTRAST = """() => {
  const lum = rgb => { const [r, g, b] = rgb.map(v => { v /= 255;
    return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const ground = el => { for (; el; el = el.parentElement) {
    const c = parse(getComputedStyle(el).backgroundColor);
    if (c.length < 4 || c[3] > .5) return c.slice(0, 3); } return [255, 255, 255]; };
  const out = {};
  for (const css of ['article p', 'article h1', '.lang-switch', 'table.dataframe td',
                     'table.dataframe th', 'article table td', 'div.highlight pre']) {
    const el = document.querySelector(css); if (!el) continue;
    const text = parse(getComputedStyle(el).color).slice(0, 3);
    const [a, b] = [lum(text), lum(ground(el))];
    out[css] = (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }
  return out; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible(book, browser, scheme):
    """WCAG AA requires a contrast of 4.5 between text and its background."""
    page = browser.new_page(color_scheme=scheme)
    seen = set()
    for name in ("book/intro", "notebooks/basic/00_tour", "zh/book/intro"):
        opened(page, book / f"{name}.html")
        page.wait_for_function(
            f"() => document.documentElement.dataset.theme === '{scheme}'"
        )
        contrast = page.evaluate(CONTRAST)
        seen |= set(contrast)
        assert {k: v for k, v in contrast.items() if v < 4.5} == {}, name
    page.close()
    assert {"article p", "article table td", ".lang-switch"} <= seen


def test_figures_keep_a_light_ground_in_the_dark(book, browser):
    page = browser.new_page(color_scheme="dark")
    path = next(p for p in book.rglob("*.html") if 'class="ds-plotly"' in p.read_text())
    opened(page, path)
    ground = (
        "() => getComputedStyle(document.querySelector('.ds-plotly')).backgroundColor"
    )
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.close()
