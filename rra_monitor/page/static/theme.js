// Light and dark: the system's (or TensorBoard's) by default, the reader's choice over it. Colours of charts come from here.

import { hostWindow } from "./address.js";

const RUNS = {
  light: ["#1f5fbf", "#d0561b", "#16836b", "#a3277f", "#7a5b00", "#5b4bd6", "#0b7f9c", "#b8283a"],
  dark: ["#6fa8ff", "#ff9a5c", "#4fd1ae", "#f084cf", "#e0bb4a", "#a99bff", "#4cc9ea", "#ff7d87"],
};
const DASHES = ["solid", "dash", "dot", "dashdot"];

// Perceptually even, dark to light, told apart without colour vision (after viridis).
export const SEQUENTIAL = [
  [0, "#440154"], [0.125, "#482878"], [0.25, "#3e4989"], [0.375, "#31688e"], [0.5, "#26828e"],
  [0.625, "#1f9e89"], [0.75, "#35b779"], [0.875, "#b5de2b"], [1, "#fde725"],
];
const DIVERGING = {
  light: [[0, "#0a4f9e"], [0.25, "#6aa5dc"], [0.5, "#f4f3ef"], [0.75, "#ea9a6b"], [1, "#a63603"]],
  dark: [[0, "#8cc4ff"], [0.25, "#3b73b3"], [0.5, "#1d222a"], [0.75, "#b5622c"], [1, "#ffb27d"]],
};

export function createTheme(state, onchange) {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const name = () => state.get().theme || (hostIsDark() || system.matches ? "dark" : "light");
  const apply = () => document.documentElement.setAttribute("data-theme", name());
  system.addEventListener("change", () => {
    apply();
    onchange();
  });
  const host = hostWindow()?.document.body;
  if (host) new MutationObserver(() => (apply(), onchange())).observe(host, { attributeFilter: ["class"] });
  apply();
  return {
    name,
    apply,
    toggle: () => state.set({ theme: name() === "dark" ? "light" : "dark" }),
    colours() {
      const style = getComputedStyle(document.documentElement);
      const token = (part) => style.getPropertyValue(`--${part}`).trim();
      return {
        name: name(),
        ink: token("ink"),
        muted: token("muted"),
        line: token("line"),
        panel: token("panel"),
        diverging: DIVERGING[name()],
        run: (index) => RUNS[name()][index % RUNS.light.length],
        dash: (index) => DASHES[Math.floor(index / RUNS.light.length) % DASHES.length],
      };
    },
  };
}

function hostIsDark() {
  return hostWindow()?.document.body?.classList.contains("dark-mode") ?? false;
}

export const gradient = (scale) => `linear-gradient(to right, ${scale.map(([at, colour]) => `${colour} ${at * 100}%`).join(", ")})`;
