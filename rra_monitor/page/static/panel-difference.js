// A minus B: two runs, or one run at two epochs, as curves and as matrices.

import { cellNames, curves, matrix } from "./charts.js";
import { keyOf, frameAt, epochText, textOf, union } from "./choose.js";
import { notComparable, ofAnotherSize, settingsText } from "./comparable.js";
import { h, options, select } from "./dom.js";
import { createGrid } from "./figure-grid.js";
import { scaleLegend } from "./legend.js";
import { curveOf } from "./lines.js";
import { capital, matrixAt, viewNote } from "./matrices.js";
import { matrixAbout, metric, ordered, shownWith } from "./metrics.js";

export function differencePanel(plotly, state) {
  const side = (letter) => ({
    run: select(`${letter}: run`, (value) => state.set({ [letter.toLowerCase()]: value })),
    epoch: select(`${letter}: epoch`, (value) => state.set({ [`${letter.toLowerCase()}e`]: value })),
  });
  const [a, b] = [side("A"), side("B")];
  const kind = select("Matrix", (value) => state.set({ kind: value }));
  const scale = scaleLegend();
  const note = h("p", { class: "muted" });
  const grid = createGrid(plotly, "grid charts");
  const root = h("section", { "aria-label": "Difference", class: "difference" },
    h("header", {}, h("h2", {}, "A minus B"), scale.root),
    h("div", { class: "fields" }, a.run.root, a.epoch.root, h("span", { class: "minus" }, "−"), b.run.root, b.epoch.root, kind.root),
    note, grid.root);
  return {
    root,
    update(selection) {
      const given = state.get();
      const [first, second] = [pick(selection, given.a, given.ae, 0), pick(selection, given.b, given.be || other(selection, given), 1)];
      for (const [boxes, one] of [[a, first], [b, second]]) {
        boxes.run.show(options(selection.shown.map((shown) => shown.label)), one?.label ?? "");
        boxes.epoch.show(epochs(one), one?.epochText ?? "");
      }
      const kinds = selection.kinds;
      const chosen = kinds.includes(given.kind) ? given.kind : (kinds[0] ?? "");
      kind.show(options(kinds, (one) => capital(matrixAbout(one).title)), chosen);
      const { specs, limit, text } = first && second ? differences(first, second, chosen, selection) : { specs: [], limit: 1, text: "" };
      scale.show(selection.colours.diverging, [-limit, limit], "B larger · A larger (matrix)");
      note.textContent = text;
      note.hidden = !text;
      grid.show(specs);
    },
  };
}

// A run alone is compared with its own beginning until the reader says otherwise.
function other(selection, given) {
  return selection.shown.length === 1 && !given.be ? textOf(selection.shown[0].run.frames[0].key) : "";
}

function pick(selection, name, epoch, fallback) {
  const found = selection.shown.find((one) => one.label === name) ?? selection.shown[Math.min(fallback, selection.shown.length - 1)];
  if (!found?.probe) return null;
  const key = epoch && epoch !== SLIDER ? keyOf(epoch) : null;
  const at = key === null ? found.at : frameAt(found.run, key);
  if (at < 0) return null;
  return { ...found, at, frame: found.run.frames[at], epochText: key === null ? SLIDER : textOf(found.run.frames[at].key) };
}

const SLIDER = "slider";

function epochs(one) {
  if (!one) return [];
  const own = one.run.frames.map((frame) => ({ value: textOf(frame.key), text: epochText(frame.key) }));
  return [{ value: SLIDER, text: "at the slider" }, ...own];
}

function differences(a, b, kind, selection) {
  const names = `${a.label} ${epochText(a.frame.key)} − ${b.label} ${epochText(b.frame.key)}`;
  const messages = [];
  const specs = [];
  let limit = 1;
  const view = sharedView(a, b, kind, selection.view);
  const [left, right] = [matrixAt(a, kind, view), matrixAt(b, kind, view)];
  if (left && right && left.view !== right.view) {
    messages.push(`The matrix of ${(left.view === view ? b : a).label} has no view ${view}: not subtracted.`);
  } else if (left && right) {
    const cells = minus(left, right, messages);
    limit = largest(cells.values.flat());
    specs.push({
      key: "difference matrix", title: matrixLabel(kind), note: [names, viewNote(left, selection)].filter(Boolean).join(" · "),
      build: (width) => matrix({
        ...cells, texts: cellNames(cells.rows, cells.columns), scale: selection.colours.diverging, limits: [-limit, limit], digits: 3,
        signed: true, colours: selection.colours,
      }, width),
    });
  } else messages.push(`${left ? b.label : a.label} has no matrix ${matrixAbout(kind).title}.`);
  const matrixShown = specs.length > 0;
  const shown = [];
  for (const name of union([selection.metric, ...shownWith(selection.metric, selection.metrics)])) {
    const found = curveDifference(a, b, name, selection);
    if (!found) continue;
    specs.push(curveSpec(found, name, names, selection));
    shown.push(name);
  }
  const abouts = [...ordered(shown).map(metric), ...(matrixShown ? [matrixAbout(kind)] : [])];
  messages.push(...unlike(a.probe, b.probe, abouts));
  return { specs, limit, text: [...new Set(messages)].join(" ") };
}

function matrixLabel(kind) {
  const { symbol, title } = matrixAbout(kind);
  return title.includes(symbol) ? title : `${symbol} ${title}`;
}

// The view asked for, if either has it, or else the first that both have.
function sharedView(a, b, kind, wanted) {
  const [left, right] = [a, b].map((one) => one.probe.matrices.get(kind)?.views ?? []);
  if (left.includes(wanted) || right.includes(wanted)) return wanted;
  return left.find((view) => right.includes(view)) ?? left[0];
}

// Which of the metrics shown cannot be subtracted, and why.
function unlike(a, b, abouts) {
  const counts = `A has ${settingsText(a, [a, b])}, B has ${settingsText(b, [a, b])}`;
  const wrong = notComparable(abouts, [a, b]);
  const sized = ofAnotherSize(abouts, [a, b]);
  return [wrong && `${counts}: values of ${wrong} are not comparable.`, sized && `${counts}: the ${sized}.`].filter(Boolean);
}

function minus(a, b, messages) {
  if (same(a.rows, b.rows) && same(a.columns, b.columns)) {
    return { rows: a.rows, columns: a.columns, values: a.values.map((row, i) => row.map((value, j) => subtract(value, b.values[i][j]))) };
  }
  const [rows, columns] = [shared(a.rows, b.rows), shared(a.columns, b.columns)];
  if (rows.length < Math.max(a.rows.length, b.rows.length) || columns.length < Math.max(a.columns.length, b.columns.length)) {
    messages.push(`Layers that both have: ${rows.length} of ${a.rows.length} in A and ${b.rows.length} in B.`);
  }
  const cell = (row, column) => subtract(a.values[row.left][column.left], b.values[row.right][column.right]);
  return { rows: rows.map(nameOf), columns: columns.map(nameOf), values: rows.map((row) => columns.map((column) => cell(row, column))) };
}

// What both have, with its place in either.
function shared(left, right) {
  const places = new Map(right.map((name, at) => [name, at]));
  return left.map((name, at) => ({ name, left: at, right: places.get(name) })).filter((one) => one.right !== undefined);
}

const nameOf = ({ name }) => name;
const same = (a, b) => a.length === b.length && a.every((value, at) => value === b[at]);
const subtract = (a, b) => (a === null || b === null || a === undefined || b === undefined ? null : a - b);

function largest(values) {
  const found = values.reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 0);
  return found > 0 ? Math.ceil(found * 100) / 100 : 0.01;
}

function curveDifference(a, b, name, selection) {
  const [left, right] = [curveOf(a, selection, name), curveOf(b, selection, name)];
  if (!left || !right) return null;
  const layers = shared(a.probe.layers, b.probe.layers);
  return { layers: layers.map(nameOf), values: layers.map((layer) => subtract(left[layer.left], right[layer.right])) };
}

function curveSpec({ layers, values }, name, names, selection) {
  const { title, digits } = metric(name);
  const most = largest(values) * 1.08;
  const line = { name: "A − B", colour: selection.colours.run(0), dash: "solid", values };
  return {
    key: `difference ${name}`, title, note: names,
    build: (width) => curves({ layers, lines: [line], range: [-most, most], digits, colours: selection.colours, diverging: true }, width),
  };
}
