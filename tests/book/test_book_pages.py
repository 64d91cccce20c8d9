"""Pages of the book, opened from their files in a real browser, offline.

Those of a lesson, and of its exercises, when `make test` executes the lesson; the others
each time.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lessons_of_a_change import changed_files, chosen

DRAWN = "() => document.querySelectorAll('.ds-plotly .main-svg').length > 0"
TYPESET = "() => document.querySelectorAll('mjx-container mjx-math').length > 0"
PHONE = {"width": 390, "height": 844}
WIDTH = "() => document.documentElement.scrollWidth"
TEXTS = """() => [...document.images].map(image => image.alt)
  .concat([...document.querySelectorAll('.ds-plotly')].map(el => el.ariaLabel || ''))"""


@dataclass(frozen=True)
class Visit:
    """What a browser saw on one page."""

    name: str
    outside: list[str]
    errors: list[str]
    texts: list[str]
    phone_width: int
    has_figure: bool
    has_formula: bool


@pytest.fixture
def tab(browser):
    """A tab that records each external request and each page error."""
    page = recording(browser)
    yield page
    page.close()


def recording(browser):
    page = browser.new_page()
    page.outside, page.errors = [], []
    local = ("file:", "data:", "blob:")
    page.on(
        "request",
        lambda r: None if r.url.startswith(local) else page.outside.append(r.url),
    )
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page


def opened(tab, path):
    tab.goto(path.as_uri(), wait_until="load")
    if 'http-equiv="refresh"' in path.read_text().lower():
        # the front page redirects: wait before opening the next page
        tab.wait_for_url(lambda url: url != path.as_uri())
    return tab


def visited(tab, path, name) -> Visit:
    text = path.read_text()
    figure, formula = 'class="ds-plotly"' in text, 'class="math' in text
    tab.goto("about:blank")  # else the page before is laid out and painted once more
    tab.set_viewport_size({"width": 1280, "height": 800})
    opened(tab, path)
    for present, drawn in ((figure, DRAWN), (formula, TYPESET)):
        if present:
            tab.wait_for_function(drawn, timeout=20_000)
    texts = tab.evaluate(TEXTS)
    tab.set_viewport_size(PHONE)
    facts = [*tab.outside], [*tab.errors], texts, tab.evaluate(WIDTH), figure, formula
    return Visit(name, *facts)


def left_out(root: Path) -> set[str]:
    """Stage and name, as `basic/00_tour`, of the lessons whose pages have no turn."""
    lessons = sorted(root.glob("notebooks/*/*.ipynb"))
    changed = changed_files(root) or set()
    if any(file.startswith(("book/_", "_config")) for file in changed):
        return set()  # what all pages are made with
    return {
        f"{x.parent.name}/{x.stem}" for x in set(lessons) - {*chosen(lessons, root)}
    }


@pytest.fixture(scope="module")
def visits(book, browser, request) -> list[Visit]:
    """The pages, each opened once."""
    tab, result = recording(browser), []
    without = left_out(request.config.rootpath)
    for path in sorted(book.rglob("*.html")):
        name = path.relative_to(book).as_posix()
        if "/".join(path.with_suffix("").parts[-2:]) in without:
            continue
        result.append(visited(tab, path, name))
        tab.outside.clear()
        tab.errors.clear()
    tab.close()
    return result


def test_every_page_is_quiet_and_drawn(visits):
    assert [v for v in visits if v.outside or v.errors] == []
    assert any(v.has_figure for v in visits), "no page has a plotly figure"
    assert any(v.has_formula for v in visits), "no page has a formula"


def test_no_page_is_wider_than_a_phone(visits):
    wide = {v.name: v.phone_width for v in visits if v.phone_width > PHONE["width"]}
    assert wide == {}


def test_every_figure_has_a_text(visits):
    poor = ("", "image", "figure", "picture")
    bad = {v.name: t for v in visits for t in v.texts if t.strip().lower() in poor}
    assert bad == {}
    files = {v.name: t for v in visits for t in v.texts if t.endswith(".png")}
    assert files == {}
    assert sum(len(v.texts) for v in visits) > 30


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


GROUND = """() => [...document.querySelectorAll('.ds-plotly')].map(
  el => getComputedStyle(el.querySelector('.gtitle, .xtick text, text')).fill)"""


def test_plots_follow_the_theme_and_follow_it_again(book, browser):
    page = browser.new_page(color_scheme="dark")
    opened(page, book / "notebooks" / "basic" / "00_tour.html")
    page.wait_for_function(DRAWN)
    dark = page.evaluate(GROUND)
    page.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
    page.wait_for_function(f"() => ({GROUND})()[0] !== {dark[0]!r}")
    light = page.evaluate(GROUND)
    page.close()
    assert set(dark) == {"rgb(223, 229, 236)"}
    assert set(dark).isdisjoint(light)


@pytest.mark.parametrize(
    ("edition", "words"),
    [
        ("", ["quantisation", "quantization", "optimiser", "roofline"]),
        ("zh/", ["量化", "量化误差", "注意力", "动态参数分组", "quantisation"]),
    ],
)
def test_the_search_finds(book, tab, edition, words):
    for word in words:
        tab.goto((book / f"{edition}search.html").as_uri() + f"?q={word}")
        tab.wait_for_selector("#search-results ul.search li", timeout=20_000)
    tab.goto((book / f"{edition}search.html").as_uri() + "?q=zyxwvu")
    tab.wait_for_selector("#search-results p.search-summary")
    assert tab.locator("#search-results ul.search li").count() == 0


def test_the_ledger_is_filtered_and_sorted_with_the_keyboard(book, tab):
    opened(tab, book / "book" / "claims.html")
    rows = tab.locator("details.ledger-claim tbody tr")
    missed = "details.ledger-claim tbody tr[data-verdict=missed]"
    total, count = rows.count(), tab.locator(missed).count()
    tab.get_by_label("Verdict").select_option("missed")
    assert 0 < count < total
    assert tab.locator("details.ledger-claim tbody tr:visible").count() == count
    assert tab.locator(".ledger-count").inner_text() == f"{count} figures match"
    tab.get_by_label("Verdict").select_option("")
    assert tab.locator("details.ledger-claim[open]").count() == 0
    sort = tab.locator(".ledger-glance th button").last
    sort.focus()
    tab.keyboard.press("Enter")
    verdicts = ".ledger-glance td:last-child"
    order = tab.eval_on_selector_all(verdicts, "a => a.map(d => +d.dataset.value)")
    assert order == sorted(order)
    tab.keyboard.press("Enter")
    again = tab.eval_on_selector_all(verdicts, "a => a.map(d => +d.dataset.value)")
    assert again == sorted(order, reverse=True) != order


@pytest.mark.parametrize("edition", ["", "zh/"])
def test_the_ledger_is_short_where_it_is_folded(book, tab, edition):
    page = book / f"{edition}book/claims.html"
    assert page.stat().st_size < 300_000
    opened(tab, page)
    assert tab.evaluate("document.documentElement.scrollHeight") < 8000


def test_details_are_shown_in_a_frame_once_they_are_unfolded(book, tab):
    opened(tab, book / "book" / "claims.html")
    details = tab.locator("details.ledger-details").first
    details.locator("> summary").click()
    details.locator("details > summary").first.click()
    frame = details.frame_locator("iframe").first
    frame.locator("table tbody tr").first.wait_for()
    assert frame.locator("pre").inner_text()  # the protocol


def test_a_link_to_a_claim_unfolds_it(book, tab):
    tab.goto((book / "book" / "claims.html").as_uri() + "#c6")
    tab.wait_for_selector("details.ledger-claim[open]")
    assert tab.locator("details.ledger-claim[open]").count() == 1
