// What the curves of the chosen frame show in words, and what measuring cost.

import { epochText } from "./choose.js";
import { h, replace } from "./dom.js";

export function findingsPanel() {
  const body = h("div", { class: "findings" });
  const root = h("section", { "aria-label": "Findings and cost" }, h("header", {}, h("h2", {}, "Findings and cost")), body);
  let shown = "";
  return {
    root,
    update(selection) {
      const key = JSON.stringify(selection.shown.map((one) => [one.label, one.entry.loaded, one.at, one.colour]));
      if (key === shown) return;
      shown = key;
      replace(body, selection.shown.filter((one) => one.frame).map(runFindings));
    },
  };
}

function runFindings({ label, frame, colour }) {
  const dot = h("i", { class: "dot", "aria-hidden": "true" });
  dot.style.background = colour;
  const found = frame.findings.filter((finding) => finding.kind !== "not_comparable");
  const notes = frame.findings.filter((finding) => finding.kind === "not_comparable");
  return h("article", {},
    h("h3", {}, dot, label, h("span", { class: "muted" }, `${epochText(frame.key)}, step ${frame.step.toLocaleString("en")}`)),
    found.length ? h("ul", {}, found.map(sentence)) : h("p", { class: "muted" }, "No finding in this snapshot."),
    notes.map((note) => h("p", { class: "note" }, note.sentence)),
    h("p", { class: "muted cost" }, cost(frame)));
}

function sentence(finding) {
  const sure = `at least ${Math.floor(finding.confidence * 1000) / 10} % sure that another draw of the samples would not undo it`;
  return h("li", { title: `${finding.kind.replace(/_/g, " ")}, ${sure}` }, finding.sentence.startsWith(`${finding.probe}: `) ? null : h("span", { class: "tag" }, finding.probe), finding.sentence);
}

function cost({ seconds, overhead }) {
  const measured = seconds == null ? "Time unknown" : `Measured in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return overhead == null ? `${measured}; fraction of the training unknown.` : `${measured}; the monitor took ${(overhead * 100).toFixed(1)} % of the time so far.`;
}
