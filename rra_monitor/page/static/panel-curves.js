// ID and NNCS over the layers, and the chosen metric where it is another.

import { curves } from "./charts.js";
import { h } from "./dom.js";
import { lineLegend } from "./legend.js";
import { metricLines } from "./lines.js";
import { metric } from "./metrics.js";
import { createGrid } from "./figures.js";

export function curvesPanel(plotly) {
  const legend = lineLegend();
  const grid = createGrid(plotly, "grid charts");
  const root = h("section", { "aria-label": "Curves over the layers" }, h("header", {}, h("h2", {}, "Over the layers"), legend.root), grid.root);
  return {
    root,
    update(sight) {
      const names = ["id", "nncs", sight.metric].filter((name, at, all) => sight.metrics.includes(name) && all.indexOf(name) === at);
      const chances = new Set();
      const specs = names.map((name) => {
        const drawn = metricLines(sight, name);
        drawn.constants.forEach((one) => chances.add(one.text));
        const { title, short } = metric(name);
        const note = [short, ...drawn.constants.map((one) => one.text), drawn.gaps].filter(Boolean).join(" · ");
        return {
          key: `curve ${name}`, title, note,
          wide: names.length === 3 && name === sight.metric,
          build: (width) => curves({ layers: sight.layers, colours: sight.colours, ...drawn }, width),
        };
      });
      legend.show(lineItems(sight, chances.size > 0, names.includes("id")));
      grid.show(specs);
    },
  };
}

function lineItems(sight, withChance, withError) {
  const items = new Map();
  for (const one of sight.shown) {
    const text = sight.bands ? one.groupLabel : one.label;
    if (!items.has(text)) items.set(text, { text, colour: one.colour, dash: one.dash });
  }
  const bands = sight.bands ? "band: range of the group" : withError ? "band: ± standard error" : "";
  return [
    ...items.values(),
    withChance && { text: "chance", colour: sight.colours.muted, dash: "dot" },
    bands && { text: bands, colour: sight.colours.line, dash: "band" },
  ].filter(Boolean);
}
