// All that the panels show, worked out from the state and the loaded runs once for every change.

import { groupOf, isBanded, isChosen, keyOf, matching, mergedLayers, frameAt, positions, epochText, union } from "./choose.js";
import { notComparable, ofAnotherSize, settingsText } from "./comparable.js";
import { metric, ordered, orderedKinds, shownWith } from "./metrics.js";

// entries: [{name, group, version, run or null}]. `shown` are the chosen runs that are loaded, each with its frame.
export function createSelection(entries, state, colours) {
  const chosen = matching(entries, state).filter(isChosen(matching(entries, state), state));
  const loaded = chosen.filter((entry) => entry.run);
  const runs = loaded.map((entry) => entry.run);
  const probes = union(runs.map((run) => [...run.probes.keys()])).sort();
  const probe = probes.includes(state.probe) ? state.probe : probes.includes("train") ? "train" : (probes[0] ?? "");
  const keys = positions(runs);
  const wanted = state.epoch === "" ? null : keyOf(state.epoch);
  const key = keys.filter((one) => wanted !== null && one <= wanted).pop() ?? (wanted === null ? keys[keys.length - 1] : keys[0]);
  const groups = union(loaded.map((entry) => groupOf(entry, entry.run, state) ?? entry.name));
  const bands = isBanded(entries, state);
  const shown = loaded.map((entry) => {
    const group = groupOf(entry, entry.run, state) ?? entry.name;
    const at = frameAt(entry.run, key);
    const index = bands ? groups.indexOf(group) : entries.indexOf(entry);
    return {
      entry,
      run: entry.run,
      probe: entry.run.probes.get(probe) ?? null,
      at,
      frame: at < 0 ? null : entry.run.frames[at],
      group,
      groupLabel: group,
      label: entry.name,
      colour: colours.run(index),
      dash: colours.dash(index),
    };
  });
  const found = shown.filter((one) => one.probe).map((one) => one.probe);
  const views = union(found.map((one) => one.views));
  const metrics = ordered(union(found.map((one) => [...one.curves.keys()])));
  return {
    entries, chosen, shown, probes, probe, keys, key, groups, bands, views, metrics,
    waiting: chosen.filter((entry) => !entry.run && !entry.error),
    view: views.includes(state.view) ? state.view : (views[0] ?? "full"),
    metric: metrics.includes(state.metric) ? state.metric : (metrics[0] ?? ""),
    kinds: orderedKinds(union(found.map((one) => [...one.matrices.keys()]))),
    layers: found.length === 1 ? found[0].layers : mergedLayers(found.map((one) => one.layers)),
    colours,
  };
}

// One sentence for each run that does not show what the slider and the selectors name.
export function remarks(selection) {
  const messages = [];
  for (const { label, probe, frame, run } of selection.shown) {
    run.notes.forEach((note) => messages.push(`${label}: ${note}`));
    if (!frame) messages.push(`${label} begins after ${epochText(selection.key)} and is not shown.`);
    else if (frame.key !== selection.key) messages.push(`${label} has no ${epochText(selection.key)}: its ${epochText(frame.key)} is shown.`);
    if (!probe) messages.push(`${label} has no probe ${selection.probe}.`);
    else if (!probe.views.includes(selection.view)) messages.push(`${label} has no view ${selection.view}.`);
  }
  const measured = selection.shown.filter((one) => one.probe).map((one) => one.probe);
  const sizes = union(measured.map((probe) => settingsText(probe, measured))).join("; ");
  const abouts = shownWith(selection.metric, selection.metrics).map(metric);
  const wrong = notComparable(abouts, measured);
  if (wrong) messages.push(`Not measured alike (${sizes}): of ${wrong} compare shapes, not values.`);
  const sized = ofAnotherSize(abouts, measured);
  if (sized) messages.push(`The ${sized}, which differs (${sizes}).`);
  return messages;
}
