// NNLS of one run at the chosen frame, side by side: with itself, the snapshot before, references, its pooled view.

import { cellNames, matrix } from "./charts.js";
import { epochText } from "./choose.js";
import { h, options, select } from "./dom.js";
import { createGrid } from "./figure-grid.js";
import { scaleLegend } from "./legend.js";
import { capital, matrixAt, viewNote } from "./matrices.js";
import { matrixAbout, orderedKinds } from "./metrics.js";
import { SEQUENTIAL } from "./theme.js";

export function matricesPanel(plotly, state) {
  const run = select("Run", (value) => state.set({ run: value }));
  const scale = scaleLegend();
  const grid = createGrid(plotly);
  const root = h("section", { "aria-label": "Layer similarity" },
    h("header", {}, h("h2", {}, "Layer similarity (NNLS)"), run.root, scale.root), grid.root);
  return {
    root,
    update(selection) {
      const names = selection.shown.map((one) => one.label);
      const chosen = selection.shown.find((one) => one.label === state.get().run) ?? runWithMostMatrices(selection.shown);
      run.show(options(names), chosen?.label ?? "");
      const probe = chosen?.probe;
      scale.show(SEQUENTIAL, [0, 1], chanceOf(chosen));
      grid.show(probe && chosen.at >= 0 ? matrixSpecs(chosen, selection) : []);
    },
  };
}

// Of the similarity with itself, which every run has; quantities of other ranges have their own in their notes.
function chanceOf(chosen) {
  const level = chosen?.probe?.chances[matrixAbout("self").chance];
  return level === undefined ? "" : `chance ${level.toFixed(3)}`;
}

// The run with most to show: the one that has references.
function runWithMostMatrices(shown) {
  const count = (one) => one.probe?.matrices.size ?? 0;
  return shown.reduce((best, one) => (best && count(best) >= count(one) ? best : one), undefined);
}

function matrixSpecs(chosen, selection) {
  return orderedKinds([...chosen.probe.matrices.keys()]).map((kind) => matrixAt(chosen, kind, selection.view)).filter(Boolean).map((found) => {
    const { title, fraction, digits, symbol } = matrixAbout(found.kind);
    const limits = fraction ? [0, 1] : rangeOf(found.values);
    const empty = found.values.every((row) => row.every((value) => value === null));
    return {
      key: `matrix ${found.kind}`,
      title: capital(title),
      note: [epochText(chosen.frame.key), viewNote(found, selection), empty && "not defined in this snapshot",
        !fraction && !empty && `${symbol} ${limits[0].toFixed(digits)} to ${limits[1].toFixed(digits)}`].filter(Boolean).join(" · "),
      build: (width) => matrix({
        ...found, texts: cellNames(found.rows, found.columns), scale: SEQUENTIAL, limits, digits, colours: selection.colours,
      }, width),
    };
  });
}

function rangeOf(rows) {
  const values = rows.flat().filter((value) => value !== null);
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
}
