// One metric over the layers at the chosen frame: a line for each run, or a band for each group.

import { metric } from "./metrics.js";

// selection: what is chosen (see selection.js). Returns {layers, lines, constants, range, missing}.
export function metricLines(selection, name) {
  const about = metric(name);
  const found = selection.shown.filter((shown) => curveOf(shown, selection, name) !== null);
  const raw = found.map((shown) => aligned(curveOf(shown, selection, name), shown.probe.layers, selection.layers));
  const lines = selection.bands ? bandLines(selection, found, raw) : runLines(selection, found, raw, name, about);
  const second = selection.bands || !about.beside ? [] : besideLines(selection, found, about.beside);
  return { lines: [...lines, ...second], second: second.length > 0, constants: chance(found, name), range: metricRange(selection, name, !selection.bands), digits: about.digits, gaps: gaps(lines, selection.layers) };
}

// Says which layers have no value in some line.
function gaps(lines, layers) {
  const names = layers.filter((_, at) => lines.some((line) => line.values[at] === null));
  if (!names.length) return "";
  if (names.length === layers.length) return "undefined in this snapshot";
  const more = names.length > 2 ? ` and ${names.length - 2} more` : "";
  return `no value ${lines.length > 1 ? "in some runs" : "in"}: ${names.slice(0, 2).join(", ")}${more}`;
}

export function curveOf(shown, selection, name) {
  const array = shown.probe?.curves.get(name);
  const view = shown.probe?.views.indexOf(selection.view);
  return array && shown.at >= 0 && view >= 0 ? array.row(shown.at, view) : null;
}

function aligned(values, layers, all) {
  if (layers === all) return values;
  const place = new Map(layers.map((layer, at) => [layer, at]));
  return all.map((layer) => values[place.get(layer)] ?? null);
}

function runLines(selection, found, raw, name, about) {
  return found.map((shown, at) => {
    const line = { name: shown.label, colour: shown.colour, dash: shown.dash, values: raw[at] };
    const errors = about.error ? curveOf(shown, selection, about.error) : null;
    if (!errors) return line;
    const error = aligned(errors, shown.probe.layers, selection.layers);
    const ends = (sign) => line.values.map((value, layer) => (value === null || error[layer] === null ? null : value + sign * error[layer]));
    const spread = error.map((one) => (one === null ? "" : ` ± ${one.toFixed(about.digits)}`));
    return { ...line, low: ends(-1), high: ends(1), spread };
  });
}

// A thin second line of each run in which the curve that asks for it is above 0 in some layer.
function besideLines(selection, found, { curve, where, text }) {
  return found.flatMap((shown) => {
    const [asks, values] = [where, curve].map((name) => curveOf(shown, selection, name));
    if (!values || !asks?.some((value) => value > 0)) return [];
    return [{ name: `${shown.label}, ${text}`, colour: shown.colour, dash: "dash", thin: true, values: aligned(values, shown.probe.layers, selection.layers) }];
  });
}

function bandLines(selection, found, raw) {
  const groups = new Map();
  found.forEach((shown, at) => {
    if (!groups.has(shown.group)) groups.set(shown.group, { shown, several: [] });
    groups.get(shown.group).several.push(raw[at]);
  });
  return [...groups.values()].map(({ shown, several }) => {
    const cells = selection.layers.map((_, layer) => several.map((values) => values[layer]).filter((value) => value !== null));
    const over = (summary) => cells.map((values) => (values.length ? summary(values) : null));
    const [low, high] = [over((values) => Math.min(...values)), over((values) => Math.max(...values))];
    return {
      name: shown.groupLabel, colour: shown.colour, dash: shown.dash, low, high,
      values: over((values) => values.reduce((sum, value) => sum + value, 0) / values.length),
      spread: cells.map((values, at) => (values.length ? `, ${low[at].toFixed(3)} to ${high[at].toFixed(3)} in ${values.length}` : "")),
    };
  });
}

function chance(found, name) {
  const of = metric(name).chance;
  const levels = found.map((shown) => shown.probe.chances[of]).filter((value) => of && value !== undefined);
  const values = new Set(levels.map((value) => value.toFixed(4)));
  return [...values].map((value) => ({ value: Number(value), text: `chance ${Number(value).toFixed(3)}` }));
}

// Over all frames of the runs shown, so that the axis stands still while the slider moves; of the ID with room for its
// standard errors where they are drawn.
export function metricRange(selection, name, withErrors = false) {
  const about = metric(name);
  if (about.fraction) return [0, 1.03];
  let [low, high] = [0, 0];
  for (const shown of selection.shown) {
    const array = shown.probe?.curves.get(name);
    const view = shown.probe?.views.indexOf(selection.view) ?? -1;
    if (!array || view < 0) continue;
    const errors = withErrors && about.error ? shown.probe.curves.get(about.error) : null;
    const found = rangeOf(array, view);
    if (found) [low, high] = [Math.min(low, found[0]), Math.max(high, found[1])];
    const second = withErrors && about.beside ? besideRange(shown.probe, view, about.beside) : null;
    if (second) [low, high] = [Math.min(low, second[0]), Math.max(high, second[1])];
    if (errors) high = Math.max(high, highestEnd(array, view, errors));
  }
  const room = (high - low || 1) * 0.06;
  return [low < 0 ? low - room : 0, high + room];
}

const rangeOf = remembered((array, view) => array.range(view));

// Of the second lines, where there is one at some frame.
function besideRange(probe, view, { curve, where }) {
  const [values, asks] = [probe.curves.get(curve), probe.curves.get(where)];
  return values && asks && rangeOf(asks, view)?.[1] > 0 ? rangeOf(values, view) : null;
}

const highestEnd = remembered((array, view, errors) => {
  let high = 0;
  for (let at = 0; at < array.shape[0]; at += 1) {
    const error = errors.row(at, view);
    array.row(at, view).forEach((value, layer) => (high = Math.max(high, (value ?? 0) + (error[layer] ?? 0))));
  }
  return high;
});

// What was worked out for a view of an array is kept as long as the array.
function remembered(work) {
  const known = new WeakMap();
  return (array, view, ...more) => {
    if (!known.has(array)) known.set(array, new Map());
    const found = known.get(array);
    if (!found.has(view)) found.set(view, work(array, view, ...more));
    return found.get(view);
  };
}
