// The page: builds its parts once, then hands each of them what is to be seen whenever a choice or the data change.

import { createAddress } from "./address.js";
import { decodeRun } from "./decode.js";
import { h, replace } from "./dom.js";
import { comparisonPanel } from "./panel-comparison.js";
import { curvesPanel } from "./panel-curves.js";
import { developmentPanel } from "./panel-development.js";
import { differencePanel } from "./panel-difference.js";
import { findingsPanel } from "./panel-findings.js";
import { matricesPanel } from "./panel-matrices.js";
import { sidebar } from "./sidebar.js";
import { createSelection, remarks } from "./selection.js";
import { createState } from "./state.js";
import { createTheme } from "./theme.js";
import { toolbar } from "./toolbar.js";

const EMPTY = "No run was found. Runs come from RRACallback in a Lightning trainer with a TensorBoardLogger, " +
  "Trainer(logger=TensorBoardLogger(\"logs\"), callbacks=[RRACallback()]), as soon as the untrained network is measured; " +
  "or from `rra-monitor demo`, which trains two small networks in a minute and prints the command that opens its dashboard.";

// source: {list() -> {runs: [{name, group, version}], message, comparison}, load(name) -> run, live: milliseconds or 0}
export async function start(root, source, plotly) {
  const state = createState(createAddress());
  const page = createPage(root, state, plotly, (entries) => Promise.all(entries.map(fetchRun)));
  let entries = [];

  async function fetchRun(entry) {
    if (entry.loading) return;
    entry.loading = true;
    const { version } = entry;
    try {
      const payload = await source.load(entry.name);
      entry.run = decodeRun(payload);
      entry.error = null;
      entry.loaded = version;
    } catch (error) {
      entry.error = `Not read: ${error.message}`;
      entry.loaded = version; // until there is another version
    }
    entry.loading = false;
    page.show(entries);
  }

  async function look() {
    try {
      const found = await source.list();
      const known = new Map(entries.map((entry) => [entry.name, entry]));
      const changed = found.runs.length !== entries.length || found.runs.some(({ name, version }) => known.get(name)?.version !== version);
      entries = found.runs.map((run) => Object.assign(known.get(run.name) ?? { run: null, error: null, loaded: null }, run));
      page.say(found.message, found.comparison);
      if (changed || !entries.length) page.show(entries);
    } catch (error) {
      page.say(entries.length ? `${error.message} What was read last is shown.` : error.message);
      if (!entries.length) page.show(entries);
    }
  }

  await look();
  // A tab that TensorBoard does not show has no width.
  if (source.live) setInterval(() => document.hidden || window.innerWidth === 0 || look(), source.live);
}

function createPage(root, state, plotly, fetchRuns) {
  let entries = [];
  const theme = createTheme(state, () => draw());
  const bar = toolbar(state, theme);
  const runs = sidebar(state);
  const message = h("p", { class: "message", role: "status", hidden: true });
  const notes = h("p", { class: "muted remarks", role: "status", "aria-live": "polite" });
  const panels = [curvesPanel(plotly), matricesPanel(plotly, state), developmentPanel(plotly), differencePanel(plotly, state), findingsPanel()];
  const body = h("main", {}, panels.map((panel) => panel.root));
  const empty = h("p", { class: "empty", hidden: true }, EMPTY);
  const shell = h("div", { class: "shell" }, runs.root, h("div", { class: "content" }, bar.root, notes, body));
  replace(root, message, empty, shell);
  let waiting = false;

  // Many changes between two frames are drawn once.
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawNow();
    });
  }

  function drawNow() {
    const selection = createSelection(entries, state.get(), theme.colours());
    const stale = selection.chosen.filter((entry) => entry.loaded !== entry.version && !entry.loading);
    if (stale.length) fetchRuns(stale);
    empty.hidden = entries.length > 0;
    shell.hidden = entries.length === 0;
    bar.update(selection);
    runs.update(selection);
    const words = remarks(selection);
    if (selection.waiting.length) words.unshift(`Reading ${selection.waiting.map((entry) => entry.name).join(", ")} …`);
    else if (!selection.shown.length && entries.length) words.unshift("No run is chosen: tick one on the list of runs.");
    if (notes.textContent !== words.join(" ")) notes.textContent = words.join(" ");
    body.hidden = !selection.shown.length;
    panels.forEach((panel) => updateOrReport(panel, selection));
    root.dataset.epoch = state.get().epoch;
    root.dispatchEvent(new CustomEvent("drawn"));
  }

  // A panel that fails takes no other with it.
  function updateOrReport(panel, selection) {
    try {
      panel.update(selection);
    } catch (error) {
      console.error(error);
      message.textContent = `${panel.root.getAttribute("aria-label")} could not be drawn: ${error.message}`;
      message.hidden = false;
    }
  }

  state.listen((_, changed) => {
    if (changed.includes("theme")) theme.apply();
    draw();
  });

  return {
    show(found) {
      entries = found;
      draw();
    },
    say(text, comparison = null) {
      message.textContent = text ?? "";
      message.hidden = !text;
      if (comparison && !panels.some((panel) => panel.comparison === comparison)) {
        const panel = Object.assign(comparisonPanel(plotly, comparison), { comparison });
        panels.push(panel);
        body.prepend(panel.root);
      }
    },
  };
}

