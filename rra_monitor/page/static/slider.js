// One slider over the epochs for all panels, and play.

import { epochText, textOf } from "./choose.js";
import { h } from "./dom.js";

const STEP = 350; // milliseconds between two frames while playing; short trainings play as long as one can follow
const WHOLE = 20000; // that a long training takes to play at most

export function epochSlider(state) {
  let keys = [];
  let timer = null;
  const range = h("input", { type: "range", min: 0, max: 0, step: 1, oninput: () => (stop(), go(Number(range.value))) });
  const shown = h("output", { "aria-live": "off" });
  const play = h("button", { type: "button", class: "play", onclick: () => (timer === null ? start() : stop()) });
  const root = h("div", { class: "slider" }, play, h("label", {}, h("span", { class: "hidden" }, "Epoch"), range), shown);

  function go(at) {
    state.set({ epoch: at >= keys.length - 1 ? "" : textOf(keys[at]) });
  }

  function start() {
    if (keys.length < 2) return;
    if (Number(range.value) >= keys.length - 1) go(0);
    const wait = Math.max(60, Math.min(STEP, WHOLE / keys.length));
    const next = () => {
      const at = Number(range.value) + 1;
      if (at >= keys.length) return stop();
      go(at);
      timer = setTimeout(next, wait);
    };
    timer = setTimeout(next, wait);
    label();
  }

  function stop() {
    clearTimeout(timer);
    timer = null;
    label();
  }

  function label() {
    play.textContent = timer === null ? "▶" : "❚❚";
    play.setAttribute("aria-label", timer === null ? "Play through the epochs" : "Pause");
    play.title = timer === null ? "Play" : "Pause";
  }

  label();
  return {
    root,
    update(selection) {
      keys = selection.keys;
      range.max = Math.max(0, keys.length - 1);
      range.value = Math.max(0, keys.indexOf(selection.key));
      range.disabled = play.disabled = keys.length < 2;
      const text = keys.length ? epochText(selection.key) : "no epoch";
      range.setAttribute("aria-valuetext", text);
      const last = keys.length ? textOf(keys[keys.length - 1]) : "";
      shown.textContent = keys.length ? `${text.charAt(0).toUpperCase()}${text.slice(1)} of ${last}` : text;
    },
  };
}
