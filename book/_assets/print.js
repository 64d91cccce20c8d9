/* What the printed book needs of its browser, before it is printed. */

/* Whether all figures and formulas are drawn. */
async function isDrawn() {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const figures = [...document.querySelectorAll(".ds-plotly")];
  return figures.every(figure => figure.querySelector(".main-svg"));
}

/* A canvas of WebGL prints as a blank, and what is too wide would be cut off. */
async function fitToPaper(width) {
  for (const figure of document.querySelectorAll(".ds-plotly:has(canvas)")) {
    const image = new Image(), height = figure.clientHeight;
    image.src = await Plotly.toImage(figure, {format: "png", width, height, scale: 2});
    image.alt = figure.getAttribute("aria-label");
    figure.replaceWith(image);
  }
  const wide = "table, .ds-plotly, mjx-container[display]";
  for (const part of document.querySelectorAll(wide)) {
    const room = part.parentElement.clientWidth || width;
    if (part.scrollWidth > room + 1) part.style.zoom = room / part.scrollWidth;
  }
}
