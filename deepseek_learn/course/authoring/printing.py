"""Print one HTML page to a PDF, once its figures and formulas are drawn.

`book/_assets/print.js`, which the page loads, says when that is so.
"""

import shutil
from pathlib import Path

from ...errors import DeepSeekLearnError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH = 680  # CSS pixels between the margins of an A4 page
MINUTES = 10  # a book of some hundred pages takes one or two
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--enable-unsafe-swiftshader",
]
FOOTER = (
    '<div style="font-size:8px;width:100%;text-align:center">'
    '<span class="pageNumber"></span></div>'
)


def print_page(source: Path, target: Path) -> None:
    """Print the HTML file `source` into the PDF `target`, with an outline.

    Raises:
        DeepSeekLearnError: if no Chromium is installed, or the page is not drawn within
            ten minutes.
    """
    from playwright.sync_api import Error, sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise DeepSeekLearnError(
            f"printing needs a browser; none of {', '.join(BROWSERS)} is on the PATH."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": 960})
            page.set_default_timeout(MINUTES * 60_000)
            page.emulate_media(media="print", color_scheme="light")
            page.goto(source.resolve().as_uri(), wait_until="load")
            page.wait_for_function("isDrawn()")
            page.evaluate("width => fitToPaper(width)", WIDTH)
            page.pdf(
                path=target,
                prefer_css_page_size=True,
                print_background=True,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOTER,
                outline=True,
                tagged=True,
            )
        except Error as error:
            first = str(error).strip().splitlines()[0]
            raise DeepSeekLearnError(f"the book was not printed: {first}") from error
        finally:
            browser.close()
