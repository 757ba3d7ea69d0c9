// The main quantities over the layers, and the chosen metric where it is another.

import { curves } from "./charts.js";
import { h } from "./dom.js";
import { lineLegend } from "./legend.js";
import { metricLines } from "./lines.js";
import { metric, shownWith } from "./metrics.js";
import { createGrid } from "./figure-grid.js";

export function curvesPanel(plotly) {
  const legend = lineLegend();
  const grid = createGrid(plotly, "grid charts");
  const root = h("section", { "aria-label": "Curves over the layers" }, h("header", {}, h("h2", {}, "Over the layers"), legend.root), grid.root);
  return {
    root,
    update(selection) {
      const names = shownWith(selection.metric, selection.metrics);
      const chances = new Set();
      const seconds = new Set();
      const specs = names.map((name) => {
        const drawn = metricLines(selection, name);
        drawn.constants.forEach((one) => chances.add(one.text));
        const { title, symbol, beside } = metric(name);
        if (drawn.second) seconds.add(beside.text);
        const note = [symbol !== title && symbol, ...drawn.constants.map((one) => one.text), drawn.gaps].filter(Boolean).join(" · ");
        return {
          key: `curve ${name}`, title, note,
          wide: names.length > 1 && names.length % 2 === 1 && name === names[names.length - 1],
          build: (width) => curves({ layers: selection.layers, colours: selection.colours, ...drawn }, width),
        };
      });
      legend.show(lineItems(selection, chances.size > 0, [...seconds], names.some((name) => metric(name).error)));
      grid.show(specs);
    },
  };
}

function lineItems(selection, withChance, seconds, withError) {
  const items = new Map();
  for (const one of selection.shown) {
    const text = selection.bands ? one.groupLabel : one.label;
    if (!items.has(text)) items.set(text, { text, colour: one.colour, dash: one.dash });
  }
  const bands = selection.bands ? "band: range of the group" : withError ? "band: ± standard error" : "";
  return [
    ...items.values(),
    ...seconds.map((text) => ({ text, colour: selection.colours.muted, dash: "dash" })),
    withChance && { text: "chance", colour: selection.colours.muted, dash: "dot" },
    bands && { text: bands, colour: selection.colours.line, dash: "band" },
  ].filter(Boolean);
}
