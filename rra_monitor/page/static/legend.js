// Legends as text beside the charts: which colour is which run, and what a colour scale runs from and to.

import { h, replace } from "./dom.js";
import { gradient } from "./theme.js";

export function lineLegend() {
  const root = h("ul", { class: "legend" });
  let shown = "";
  return {
    root,
    show(items) {
      const key = JSON.stringify(items);
      if (key === shown) return;
      shown = key;
      replace(root, items.map((item) => {
        const swatch = h("i", { class: `swatch line-${item.dash ?? "solid"}`, "aria-hidden": "true" });
        swatch.style.borderTopColor = item.colour;
        return h("li", {}, swatch, item.text);
      }));
    },
  };
}

export function scaleLegend() {
  const bar = h("i", { class: "bar", "aria-hidden": "true" });
  const ends = [h("span"), h("span")];
  const note = h("span", { class: "muted" });
  const root = h("div", { class: "scale" }, ends[0], bar, ends[1], note);
  return {
    root,
    show(scale, limits, text, digits = 2) {
      bar.style.backgroundImage = gradient(scale);
      const shown = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(digits));
      ends[0].textContent = shown(limits[0]);
      ends[1].textContent = shown(limits[1]);
      note.textContent = text;
    },
  };
}
