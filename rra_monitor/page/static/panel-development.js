// How each layer's value of the chosen metric develops: layers against frames, one heatmap for each run.

import { cellNames, development, marker } from "./charts.js";
import { textOf, epochText } from "./choose.js";
import { h } from "./dom.js";
import { createGrid } from "./figure-grid.js";
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
    update(selection) {
      const { title, symbol, fraction, digits } = metric(selection.metric);
      heading.textContent = `Development: ${title}`;
      const range = fraction ? [0, 1] : metricRange(selection, selection.metric);
      scale.show(SEQUENTIAL, range, symbol, 1);
      const several = selection.shown.filter((one) => one.probe?.curves.has(selection.metric) && one.probe.views.includes(selection.view));
      grid.show(several.map((one) => spec(one, selection, range, digits)));
    },
  };
}

function spec(one, selection, limits, digits) {
  return {
    key: `development ${one.label}`,
    title: one.label,
    note: counted(one.run.frames.length),
    same: JSON.stringify([one.entry.loaded, selection.probe, selection.view, selection.metric, limits, selection.colours.name]),
    build: (width) => development({ ...table(one, selection), limits, digits, colours: selection.colours, at: one.at }, width),
    mark: { key: one.at, layout: () => ({ shapes: marker(one.at, selection.colours) }) },
  };
}

const counted = (count) => `${count} ${count === 1 ? "snapshot" : "snapshots"}; blank where undefined`;

function table(one, selection) {
  const array = one.probe.curves.get(selection.metric);
  const view = one.probe.views.indexOf(selection.view);
  const columns = one.run.frames.map((_, at) => array.row(at, view));
  const { layers } = one.probe;
  return {
    layers,
    frames: one.run.frames.map((frame) => textOf(frame.key)),
    values: layers.map((_, layer) => columns.map((column) => column[layer])),
    texts: cellNames(layers, one.run.frames.map((frame) => epochText(frame.key)), ", "),
  };
}
