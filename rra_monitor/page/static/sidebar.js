// The runs: found by a regular expression, grouped, chosen one by one.

import { groupOf, isChosen, matching, pattern } from "./choose.js";
import { h, replace } from "./dom.js";

export function sidebar(state) {
  const filter = textField("Show runs that match", "regular expression", "filter", state);
  const groups = textField("Group by", "e.g. ^(.+)-[0-9]", "groups", state);
  const bands = h("input", { type: "checkbox", onchange: () => state.set({ bands: bands.checked ? "1" : "0" }) });
  const list = h("ul", { class: "runs" });
  const count = h("span", { class: "muted" });
  const root = h("aside", { "aria-label": "Runs" },
    h("h2", {}, "Runs", count), filter.root, groups.root,
    h("label", { class: "check" }, bands, h("span", {}, "Mean and range of each group")),
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => choose(() => true) }, "All"),
      h("button", { type: "button", onclick: () => choose(() => false) }, "None"),
      h("button", { type: "button", onclick: () => state.set({ runs: null }) }, "Default")),
    list);
  let entries = [];
  let shown = "";

  function choose(keep) {
    const given = state.get();
    const found = matching(entries, given);
    const chosen = isChosen(found, given);
    const here = new Set(found);
    const outside = new Set(given.runs ?? []); // runs that the filter hides stay as they were
    const kept = entries.filter((entry) => (here.has(entry) ? keep(entry, chosen(entry)) : outside.has(entry.name)));
    state.set({ runs: kept.map((entry) => entry.name) });
  }

  return {
    root,
    update(selection) {
      entries = selection.entries;
      const given = state.get();
      filter.show(given.filter);
      groups.show(given.groups);
      bands.checked = selection.bands;
      const found = matching(entries, given);
      const chosen = isChosen(found, given);
      count.textContent = `${selection.chosen.length} of ${entries.length}`;
      const colours = new Map(selection.shown.map((one) => [one.entry.name, one.colour]));
      const rows = found.map((entry) => ({
        name: entry.name, group: groupOf(entry, entry.run, given), on: chosen(entry), colour: colours.get(entry.name) ?? null, error: entry.error ?? null,
      }));
      const key = JSON.stringify(rows);
      if (key === shown) return;
      shown = key;
      const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
      replace(list, rows.map((row) => line(row, () => choose((entry, on) => (entry.name === row.name ? !on : on)))));
      if (focused !== null) [...list.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
    },
  };
}

function line({ name, group, on, colour, error }, onchange) {
  const box = h("input", { type: "checkbox", value: name, onchange });
  box.checked = on;
  const dot = h("i", { class: "dot", "aria-hidden": "true" });
  dot.style.background = colour ?? "transparent";
  return h("li", {}, h("label", { class: "check", title: name }, box, dot, h("span", {}, name), group !== null && h("small", {}, group)),
    error && h("p", { class: "warning" }, error));
}

function textField(label, hint, name, state) {
  const box = h("input", { type: "text", placeholder: hint, spellcheck: "false", autocomplete: "off" });
  const problem = h("p", { class: "warning", role: "status", hidden: true });
  let timer = null; // runs while what was typed is not yet in the state
  const take = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    state.set({ [name]: box.value });
  };
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(take, 200);
  });
  box.addEventListener("change", take);
  box.addEventListener("blur", take);
  return {
    root: h("div", {}, h("label", { class: "field" }, h("span", {}, label), box), problem),
    show(value) {
      if (document.activeElement !== box && timer === null) box.value = value;
      const { error } = pattern(value);
      problem.textContent = error === null ? "" : `Not a regular expression that can be matched: ${error}.`;
      problem.hidden = error === null;
    },
  };
}
