// Traces and layouts of the three kinds of charts: curves over layers, matrices, layers against epochs.

import { shortened, widest } from "./names.js";
import { SEQUENTIAL } from "./theme.js";

const FONT = 11;
const SLANTED = 19; // pixels from one slanted tick label to the next

// Plotly reads some HTML in texts.
export function escape(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// Labels of as many positions as fit, evenly: every, every second, every fifth …
function ticks(names, pixels, room) {
  const fit = Math.max(2, Math.floor(pixels / room));
  const step = [1, 2, 3, 4, 5, 10, 20, 25, 50, 100].find((one) => names.length / one <= fit) ?? Math.ceil(names.length / fit);
  return kept(JSON.stringify([step, names]), () => {
    const tickvals = names.map((_, at) => at).filter((at) => at % step === 0);
    const short = names;
    return { tickmode: "array", tickvals, ticktext: tickvals.map((at) => escape(shortened(short[at]))) };
  });
}

const made = new Map();

// The same arrays for the same question: plotly lays a chart out anew when one of its arrays is another.
function kept(question, make) {
  if (!made.has(question)) {
    if (made.size > 100) made.clear();
    made.set(question, make());
  }
  return made.get(question);
}

function axis(colours, more) {
  return {
    zeroline: false,
    gridcolor: colours.line,
    linecolor: colours.line,
    tickcolor: colours.line,
    tickfont: { size: FONT, color: colours.muted },
    title: { text: "" },
    fixedrange: false,
    automargin: false,
    ...more,
  };
}

function base(colours, width, height, margin) {
  return {
    width,
    height,
    margin,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", size: FONT, color: colours.ink },
    showlegend: false,
    hovermode: "closest",
    hoverlabel: { bgcolor: colours.panel, bordercolor: colours.muted, font: { color: colours.ink, size: 12 }, align: "left" },
    dragmode: "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.muted, activecolor: colours.ink },
  };
}

// lines: [{name, colour, dash, values, low, high, text}] of values for each of `layers`; constants: [{value, text}].
export function curves({ layers, lines, constants = [], range, digits, colours, diverging = false }, width) {
  const margin = { l: 44, r: 10, t: 8, b: 14 + widest(layers) * 0.74 };
  const x = kept(`places ${layers.length}`, () => layers.map((_, at) => at));
  const markers = layers.length <= 30;
  const traces = lines.filter((line) => line.low).map((line) => ({
    type: "scatter", ...outline(line), fill: "toself", fillcolor: transparent(line.colour), line: { width: 0 }, mode: "lines",
    hoverinfo: "skip",
  }));
  for (const constant of constants) {
    traces.push({
      type: "scatter", x: [-0.4, layers.length - 0.6], y: [constant.value, constant.value], mode: "lines",
      line: { color: colours.muted, width: 1.2, dash: "dot" }, hoverinfo: "text", hovertext: escape(constant.text),
    });
  }
  for (const line of lines) {
    traces.push({
      type: "scatter", x, y: line.values, mode: markers ? "lines+markers" : "lines", connectgaps: false,
      line: { color: line.colour, width: line.thin ? 1 : 1.8, dash: line.dash }, marker: { size: line.thin ? 3 : 5, color: line.colour },
      hoverinfo: "text", hovertext: hoverTexts(line, layers, digits),
    });
  }
  const height = 232 + margin.b;
  const layout = base(colours, width, height, margin);
  layout.xaxis = axis(colours, {
    range: [-0.5, layers.length - 0.5], tickangle: -45, showgrid: layers.length <= 30, ...ticks(layers, width - 54, SLANTED),
  });
  layout.yaxis = axis(colours, {
    range, nticks: 6, zeroline: diverging, zerolinecolor: colours.muted, zerolinewidth: 1, tickformat: "~g",
  });
  return { traces, layout };
}

function hoverTexts(line, layers, digits) {
  const head = `<b>${escape(line.name)}</b>`;
  return layers.map((layer, at) => {
    const value = line.values[at];
    if (value === null || value === undefined) return "";
    const spread = line.spread?.[at] ?? "";
    return `${head}<br>${escape(layer)}: ${value.toFixed(digits)}${spread}`;
  });
}

// The band between low and high as closed outlines, one for each stretch without gaps.
function outline({ low, high }) {
  const [x, y] = [[], []];
  let start = null;
  for (let at = 0; at <= low.length; at += 1) {
    const there = at < low.length && low[at] !== null && high[at] !== null;
    if (there && start === null) start = at;
    if (there || start === null) continue;
    for (let up = start; up < at; up += 1) (x.push(up), y.push(high[up]));
    for (let down = at - 1; down >= start; down -= 1) (x.push(down), y.push(low[down]));
    x.push(null);
    y.push(null);
    start = null;
  }
  return { x, y };
}

function transparent(colour) {
  return `${colour}30`;
}

// values: rows of columns; texts: the same shape, names of the cells, made once for a pair of axes.
export function matrix({ rows, columns, values, texts, scale, limits, digits, colours, signed = false }, width) {
  const left = 12 + widest(rows);
  const margin = { l: left, r: 8, t: 4, b: 12 + widest(columns) * 0.74 };
  const side = Math.max(120, width - left - 8);
  const drawn = Math.min(side * Math.min(1.6, Math.max(0.4, rows.length / columns.length)), 420);
  const layout = base(colours, width, drawn + margin.t + margin.b, margin);
  layout.xaxis = axis(colours, { range: [-0.5, columns.length - 0.5], tickangle: -45, showgrid: false, ...ticks(columns, side, SLANTED) });
  layout.yaxis = axis(colours, { range: [rows.length - 0.5, -0.5], showgrid: false, ...ticks(rows, drawn, 14) });
  return { traces: [heatmap({ values, texts, scale, limits, digits, signed })], layout };
}

export function heatmap({ values, texts, scale = SEQUENTIAL, limits, digits, signed }) {
  return {
    type: "heatmap", z: values, text: texts, colorscale: scale, zmin: limits[0], zmax: limits[1], zauto: false,
    showscale: false, hoverongaps: false, hovertemplate: `%{text}: <b>%{z:${signed ? "+" : ""}.${digits}f}</b><extra></extra>`,
  };
}

// "row × column" for each cell; kept, since they stay while the slider moves.
export function cellNames(rows, columns, join = " × ") {
  const make = () => rows.map((row) => columns.map((column) => `${escape(row)}${join}${escape(column)}`));
  return kept(JSON.stringify([rows, columns, join]), make);
}

// Layers downwards, frames to the right; a line marks the frame at the slider.
export function development({ layers, frames, values, texts, limits, digits, colours, at }, width) {
  const left = 12 + widest(layers);
  const margin = { l: left, r: 8, t: 4, b: 34 };
  const height = Math.max(150, Math.min(420, layers.length * 15)) + margin.t + margin.b;
  const layout = base(colours, width, height, margin);
  layout.xaxis = axis(colours, {
    range: [-0.5, frames.length - 0.5], showgrid: false, tickangle: 0,
    title: { text: "epoch", font: { size: FONT, color: colours.muted }, standoff: 4 },
    ...ticks(frames, width - left - 8, 26),
  });
  layout.yaxis = axis(colours, { range: [layers.length - 0.5, -0.5], showgrid: false, ...ticks(layers, height - 38, 14) });
  layout.shapes = marker(at, colours);
  return { traces: [heatmap({ values, texts, limits, digits })], layout };
}

export function marker(at, colours) {
  if (at < 0) return [];
  return [{
    type: "rect", xref: "x", yref: "paper", x0: at - 0.5, x1: at + 0.5, y0: 0, y1: 1,
    line: { color: colours.name === "dark" ? "#ffffff" : "#e4002b", width: 1.5 }, fillcolor: "rgba(0,0,0,0)",
  }];
}
