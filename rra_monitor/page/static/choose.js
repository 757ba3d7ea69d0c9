// Which runs, frames and layers the reader's choices come to. Pure functions of state and data.

import { PER_EPOCH } from "./decode.js";
import { compiled } from "./expression.js";

export const SHOWN_AT_FIRST = 8;

const patterns = new Map();

// {exec(name), error}; one that cannot be matched is said to be so, and matches everything.
export function pattern(text) {
  if (!patterns.has(text)) {
    if (patterns.size > 20) patterns.clear();
    patterns.set(text, expressionOf(text));
  }
  return patterns.get(text);
}

function expressionOf(text) {
  try {
    return compiled(text);
  } catch (error) {
    return { exec: () => [""], error: error.message };
  }
}

export function matching(entries, state) {
  const expression = pattern(state.filter);
  return entries.filter((entry) => expression.exec(entry.name));
}

export function isChosen(entries, state) {
  const first = isBanded(entries, state) ? entries.length : SHOWN_AT_FIRST;
  const chosen = new Set(state.runs ?? entries.slice(0, first).map((entry) => entry.name));
  return (entry) => chosen.has(entry.name);
}

// Whether groups are drawn in place of runs: as the reader says, or else where the data come with groups of several runs.
export function isBanded(entries, state) {
  if (state.bands) return state.bands === "1";
  const groups = entries.map((entry) => entry.group ?? null).filter((group) => group !== null);
  return !state.groups && new Set(groups).size < groups.length;
}

export function groupOf(entry, run, state) {
  if (!state.groups) return run?.group ?? entry.group ?? null;
  const found = pattern(state.groups).exec(entry.name);
  return found ? (found[1] ?? found[0]) : null;
}

// Every frame that any of the runs has, ascending.
export function positions(runs) {
  return [...new Set(runs.flatMap((run) => run.frames.map((frame) => frame.key)))].sort((a, b) => a - b);
}

// The place of a run's last frame that is not after the key; -1 for a run that begins later.
export function frameAt(run, key) {
  let place = -1;
  run.frames.forEach((frame, index) => {
    if (frame.key <= key) place = index;
  });
  return place;
}

export function keyOf(text) {
  const found = /^(\d+)(?:\.(\d+))?$/.exec(text);
  return found ? Number(found[1]) * PER_EPOCH + Number(found[2] ?? 0) : null;
}

export function textOf(key) {
  const [epoch, part] = [Math.floor(key / PER_EPOCH), key % PER_EPOCH];
  return part ? `${epoch}.${part}` : `${epoch}`;
}

export function epochText(key) {
  const [epoch, part] = [Math.floor(key / PER_EPOCH), key % PER_EPOCH];
  return part ? `epoch ${epoch}, snapshot ${part + 1}` : `epoch ${epoch}`;
}

// All layers of networks that may differ, each network's in its order: a new one stands after the one before it.
export function mergedLayers(several) {
  const after = new Map([[null, null]]); // layer to the next one, from null to null
  for (const layers of several) {
    let last = null;
    for (const layer of layers) {
      if (!after.has(layer)) {
        after.set(layer, after.get(last));
        after.set(last, layer);
      }
      last = layer;
    }
  }
  const merged = [];
  for (let layer = after.get(null); layer !== null; layer = after.get(layer)) merged.push(layer);
  return merged;
}

export function union(lists) {
  return [...new Set(lists.flat())];
}
