// How each layer's value of the chosen metric develops: layers against frames, one heatmap for each run.

import { cellNames, development, marker } from "./charts.js";
import { textOf, spoken } from "./choose.js";
import { h } from "./dom.js";
import { createGrid } from "./figures.js";
import { scaleLegend } from "./legend.js";
import { metricRange } from "./lines.js";
import { metric } from "./metrics.js";
import { SEQUENTIAL } from "./theme.js";

export function developmentPanel(plotly) {
  const heading = h("h2");
  const scale = scaleLegend();
  const grid = createGrid(plotly);
  const root = h("section", { "aria-label": "Development over the epochs" }, h("header", {}, heading, scale.root), grid.root);
  return {
    root,
    update(sight) {
      const { title, short, share, digits } = metric(sight.metric);
      heading.textContent = `Development: ${title}`;
      const range = share ? [0, 1] : metricRange(sight, sight.metric);
      scale.show(SEQUENTIAL, range, short, 1);
      const several = sight.shown.filter((one) => one.probe?.curves.has(sight.metric) && one.probe.views.includes(sight.view));
      grid.show(several.map((one) => spec(one, sight, range, digits)));
    },
  };
}

function spec(one, sight, limits, digits) {
  return {
    key: `development ${one.label}`,
    title: one.label,
    note: counted(one.run.frames.length),
    same: JSON.stringify([one.entry.loaded, sight.probe, sight.view, sight.metric, limits, sight.colours.name]),
    build: (width) => development({ ...table(one, sight), limits, digits, colours: sight.colours, at: one.at }, width),
    mark: { key: one.at, layout: () => ({ shapes: marker(one.at, sight.colours) }) },
  };
}

const counted = (count) => `${count} ${count === 1 ? "snapshot" : "snapshots"}; blank where undefined`;

function table(one, sight) {
  const array = one.probe.curves.get(sight.metric);
  const view = one.probe.views.indexOf(sight.view);
  const columns = one.run.frames.map((_, at) => array.row(at, view));
  const { layers } = one.probe;
  return {
    layers,
    frames: one.run.frames.map((frame) => textOf(frame.key)),
    values: layers.map((_, layer) => columns.map((column) => column[layer])),
    texts: cellNames(layers, one.run.frames.map((frame) => spoken(frame.key)), ", "),
  };
}
