// NNLS of one run at the chosen frame, side by side: with itself, the snapshot before, references, its pooled view.

import { cellNames, matrix } from "./charts.js";
import { h, options, select } from "./dom.js";
import { createGrid } from "./figures.js";
import { scaleLegend } from "./legend.js";
import { matrixTitle, orderedKinds } from "./metrics.js";
import { SEQUENTIAL } from "./theme.js";
import { spoken } from "./choose.js";

export function matricesPanel(plotly, state) {
  const run = select("Run", (value) => state.set({ run: value }));
  const scale = scaleLegend();
  const grid = createGrid(plotly);
  const root = h("section", { "aria-label": "Layer similarity" },
    h("header", {}, h("h2", {}, "Layer similarity (NNLS)"), run.root, scale.root), grid.root);
  return {
    root,
    update(sight) {
      const names = sight.shown.map((one) => one.label);
      const chosen = sight.shown.find((one) => one.label === state.get().run) ?? richest(sight.shown);
      run.show(options(names), chosen?.label ?? "");
      const probe = chosen?.probe;
      scale.show(SEQUENTIAL, [0, 1], probe ? `chance ${probe.nnls_chance.toFixed(3)}` : "");
      grid.show(probe && chosen.at >= 0 ? matrixSpecs(chosen, sight) : []);
    },
  };
}

// The run with most to show: the one that has references.
function richest(shown) {
  const count = (one) => one.probe?.matrices.size ?? 0;
  return shown.reduce((best, one) => (best && count(best) >= count(one) ? best : one), undefined);
}

function matrixSpecs(chosen, sight) {
  return orderedKinds([...chosen.probe.matrices.keys()]).map((kind) => matrixAt(chosen, kind, sight.view)).filter(Boolean).map((found) => {
    const empty = found.values.every((row) => row.every((value) => value === null));
    return {
      key: `matrix ${found.kind}`,
      title: capital(matrixTitle(found.kind)),
      note: [spoken(chosen.frame.key), viewNote(found, sight), empty && "not defined in this snapshot"].filter(Boolean).join(" · "),
      build: (width) => matrix({
        ...found, texts: cellNames(found.rows, found.columns), scale: SEQUENTIAL, limits: [0, 1], digits: 3, colours: sight.colours,
      }, width),
    };
  });
}

// One matrix of a run at its frame, in the view asked for or else the first that this kind has; null for none.
export function matrixAt(chosen, kind, view) {
  const found = chosen.probe?.matrices.get(kind);
  if (!found || chosen.at < 0 || !found.views.length) return null;
  const shown = found.views.includes(view) ? view : found.views[0];
  return { kind, view: shown, rows: found.rows, columns: found.columns, values: found.values.matrix(chosen.at, found.views.indexOf(shown)) };
}

// Said of a pooled view, and wherever it is another than the one that was chosen.
export const viewNote = ({ view }, sight) => (view !== "full" || view !== sight.view) && `view ${view}`;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
