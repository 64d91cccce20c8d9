/* Draws the plotly figures of a page in the colors of its theme, again when that switches,
   and with the legend below the figure where the page is narrow. */
(() => {
  const root = document.documentElement;
  const LINES = {gridcolor: "#3d4754", zerolinecolor: "#5b6675", linecolor: "#5b6675"};
  const SPACE = {...LINES, backgroundcolor: "#232a34"};
  const CLEAR = "rgba(0,0,0,0)";
  const DARK = {
    font: {color: "#dfe5ec"}, paper_bgcolor: CLEAR, plot_bgcolor: "#1b2129",
    xaxis: LINES, yaxis: LINES, legend: {bgcolor: CLEAR},
    scene: {xaxis: SPACE, yaxis: SPACE, zaxis: SPACE},
    annotationdefaults: {arrowcolor: "#dfe5ec"},
  };
  const NARROW = 560; // pixels

  const isPlain = value => value && typeof value === "object" && !Array.isArray(value);
  function merged(base, extra) {
    const result = {...base};
    for (const [key, value] of Object.entries(extra))
      result[key] = isPlain(value) ? merged(result[key] || {}, value) : value;
    return result;
  }

  /* A color chosen for a white ground, mixed with white until it shows on a dark one. */
  function lightened(color) {
    const hex = /^#([0-9a-f]{6})$/i.exec(color);
    if (!hex) return color;
    const parts = [0, 2, 4].map(i => parseInt(hex[1].slice(i, i + 2), 16));
    const light = (0.3 * parts[0] + 0.59 * parts[1] + 0.11 * parts[2]) / 255;
    const share = Math.max(0, 0.5 - light);
    const mixed = parts.map(part => Math.round(part + (255 - part) * share));
    return `#${mixed.map(part => part.toString(16).padStart(2, "0")).join("")}`;
  }
  function withLightLines(part) {
    if (Array.isArray(part)) return part.map(withLightLines);
    if (!isPlain(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([key, value]) =>
      [key, key === "color" && typeof value === "string" ? lightened(value) : withLightLines(value)]));
  }

  function layoutOf(spec, element, dark) {
    const layout = structuredClone(spec.layout);
    if (dark) {
      layout.template = layout.template || {};
      layout.template.layout = merged(layout.template.layout || {}, DARK);
      if (layout.shapes) layout.shapes = withLightLines(layout.shapes);
    }
    if (element.clientWidth < NARROW) {
      delete layout.width;
      layout.legend = {...layout.legend, orientation: "h", x: 0, y: -0.25, xanchor: "left", yanchor: "top"};
      layout.margin = {...layout.margin, l: 48, r: 12};
      layout.title = merged(typeof layout.title === "string" ? {text: layout.title} : layout.title || {}, {font: {size: 12}});
    }
    return layout;
  }

  function draw(element) {
    const spec = element.spec, dark = root.dataset.theme === "dark";
    const data = structuredClone(spec.data);
    const config = {responsive: true, displaylogo: false};
    return Plotly.react(
      element, dark ? data.map(withLightLines) : data, layoutOf(spec, element, dark), config);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const figures = [...document.querySelectorAll(".ds-plotly")];
    figures.forEach(element => {
      element.spec = JSON.parse(element.querySelector("script").textContent);
      draw(element).then(() => {
        const {frames} = element.spec;
        return frames.length && Plotly.addFrames(element, frames);
      });
    });
    new MutationObserver(() => figures.forEach(draw))
      .observe(root, {attributes: true, attributeFilter: ["data-theme"]});
  });
})();
