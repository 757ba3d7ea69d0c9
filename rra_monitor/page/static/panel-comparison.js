// Groups of runs against each other, as `rra-monitor compare` found them: mean over all pairs, and its spread.

import { cellNames, curves, matrix } from "./charts.js";
import { h, replace } from "./dom.js";
import { lazy } from "./decode.js";
import { mergedLayers, union } from "./choose.js";
import { createGrid } from "./figure-grid.js";
import { lineLegend, scaleLegend } from "./legend.js";
import { SEQUENTIAL } from "./theme.js";

export function comparisonPanel(plotly, comparison) {
  const scale = scaleLegend();
  const legend = lineLegend();
  const grid = createGrid(plotly);
  const notes = h("ul", { class: "notes" });
  const when = comparison.moment === "last" ? "last snapshots" : `epoch ${comparison.moment}`;
  const names = union(comparison.groups.map((group) => group.probe));
  const probes = `${names.length === 1 ? "probe" : "probes"} ${names.join(", ")}`;
  const root = h("section", { "aria-label": "Groups compared" },
    h("header", {}, h("h2", {}, `Pairs of runs, ${probes}, ${when}`), scale.root), legend.root, grid.root, notes);
  const defined = comparison.pairs.filter((pairs) => pairs.mean && pairs.count > 0);
  const read = defined.map((pairs) => ({
    ...pairs, values: lazy(pairs.mean).matrix(), same: lazy(pairs.same_mean).row(), sd: lazy(pairs.same_sd).row(),
  }));
  replace(notes, [...comparison.notes, ...refusals(comparison)].map((text) => h("li", {}, text)));
  return {
    root,
    update(selection) {
      scale.show(SEQUENTIAL, [0, 1], defined.length ? `chance ${defined[0].chance.toFixed(3)}` : "");
      const lines = read.map((pairs, at) => sameLine(pairs, at, selection.colours));
      legend.show(lines.map((line) => ({ text: line.name, colour: line.colour, dash: line.dash })));
      const theme = selection.colours.name;
      const specs = read.map((pairs) => ({
        key: `pairs ${title(pairs)}`, title: title(pairs), note: counted(pairs.count), same: theme,
        build: (width) => matrix({
          rows: pairs.rows, columns: pairs.columns, values: pairs.values, texts: cellNames(pairs.rows, pairs.columns),
          scale: SEQUENTIAL, limits: [0, 1], digits: 3, colours: selection.colours,
        }, width),
      }));
      if (read.length) specs.unshift(sameSpec(read, lines, selection, theme));
      grid.show(specs);
    },
  };
}

const title = (pairs) => (pairs.a === pairs.b ? `Within ${pairs.a}` : `${pairs.a} against ${pairs.b}`);
const counted = (count) => (count === 1 ? "one pair" : `mean of ${count} ordered pairs`);

function sameLine(pairs, at, colours) {
  const ends = (sign) => pairs.same.map((value, row) => (value === null || pairs.sd[row] === null ? null : value + sign * pairs.sd[row]));
  const spread = pairs.sd.map((sd) => (sd === null ? "" : ` ± ${sd.toFixed(3)}`));
  return { name: title(pairs), colour: colours.run(at), dash: colours.dash(at), layers: pairs.rows, values: pairs.same, low: ends(-1), high: ends(1), spread };
}

function sameSpec(read, lines, selection, theme) {
  const layers = mergedLayers(read.map((pairs) => pairs.rows));
  const onto = (line, name) => layers.map((layer) => (line.layers.includes(layer) ? line[name][line.layers.indexOf(layer)] : null));
  const shown = lines.map((line) => ({
    ...line, values: onto(line, "values"), low: onto(line, "low"), high: onto(line, "high"), spread: onto(line, "spread"),
  }));
  const constants = [{ value: read[0].chance, text: `chance ${read[0].chance.toFixed(3)}` }];
  return {
    key: "pairs same layer", title: "Each layer with the layer of its name", note: "mean over the pairs, band: ± deviation", same: theme, wide: true,
    build: (width) => curves({ layers, lines: shown, constants, range: [0, 1.03], digits: 3, colours: selection.colours }, width),
  };
}

function refusals(comparison) {
  return comparison.pairs.flatMap((pairs) => Object.entries(pairs.refused).map(
    ([symbol, reason]) => `${title(pairs)}: ${symbol} not comparable: ${reason.replace(/\.$/, "")}.`));
}
