// Draws every plot of the page by plotly in the colours of the style sheet, and again when those or the width change.
(() => {
  "use strict";
  const VARIABLE = /^var\((--[\w-]+)\)(?:\/([\d.]+))?$/;
  const CONFIG = { responsive: false, displayModeBar: false };
  const root = document.documentElement;

  function coloured(value, sheet) {
    if (Array.isArray(value)) return value.map((one) => coloured(one, sheet));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, sheet)]));
    }
    const found = typeof value === "string" && VARIABLE.exec(value);
    if (!found) return value;
    const hex = sheet.getPropertyValue(found[1]).trim();
    const parts = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
    return `rgba(${parts.join(",")},${found[2] || 1})`;
  }

  function draw(plot) {
    if (!plot.clientWidth) return; // folded away: drawn when it is opened
    const spec = coloured(JSON.parse(plot.dataset.plot), getComputedStyle(root));
    // A finger that scrolls the page must not zoom the plot.
    spec.layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    Plotly.react(plot, spec.data, { ...spec.layout, width: plot.clientWidth }, CONFIG);
  }

  function drawAll(where) {
    where.querySelectorAll(".plot").forEach(draw);
  }

  let folded = [];
  addEventListener("beforeprint", () => {
    root.dataset.printing = "";
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
    drawAll(document);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.printing;
    for (const one of folded) one.open = false;
    drawAll(document);
  });
  document.addEventListener("toggle", (event) => event.target.open && drawAll(event.target), true);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
  addEventListener("resize", () => drawAll(document));
  drawAll(document);
})();
