// What all panels follow: probe, view, metric, epoch, and light or dark.

import { h, options, select } from "./dom.js";
import { metric } from "./metrics.js";
import { epochSlider } from "./slider.js";

export function toolbar(state, theme) {
  const probe = select("Probe", (value) => state.set({ probe: value }));
  const view = select("View", (value) => state.set({ view: value }));
  const chosen = select("Metric", (value) => state.set({ metric: value }));
  const slider = epochSlider(state);
  const toggle = h("button", { type: "button", class: "theme", onclick: theme.toggle });
  const root = h("div", { class: "toolbar" }, probe.root, view.root, chosen.root, slider.root, toggle);
  return {
    root,
    update(selection) {
      probe.show(options(selection.probes), selection.probe);
      view.show(options(selection.views), selection.view);
      chosen.show(options(selection.metrics, (name) => metric(name).choice), selection.metric);
      slider.update(selection);
      const next = theme.name() === "dark" ? "light" : "dark";
      toggle.textContent = next === "dark" ? "☾" : "☀";
      toggle.title = `Switch to ${next}`;
      toggle.setAttribute("aria-label", `Switch to ${next} colours`);
    },
  };
}
