// Entry of TensorBoard's tab: TensorBoard imports this module into an empty frame and calls render().

import { start } from "./app.js";
import { h } from "./dom.js";
import { servedSource } from "./source-served.js";

const beside = (name) => new URL(name, import.meta.url).href;

export async function render() {
  document.documentElement.lang = "en";
  const root = h("div", { id: "rra" }, h("p", { class: "empty" }, "Loading …"));
  const style = h("link", { rel: "stylesheet", href: beside("page.css") });
  document.head.append(style);
  document.body.append(root);
  try {
    await Promise.all([loaded(style), loadPlotly()]);
    await start(root, servedSource, window.Plotly);
  } catch (error) {
    root.replaceChildren(h("p", { class: "empty" }, `The page could not start: ${error.message}`));
    throw error;
  }
}

function loadPlotly() {
  const script = h("script", { src: beside("plotly.min.js") });
  const done = loaded(script);
  document.head.append(script);
  return done;
}

function loaded(node) {
  return new Promise((resolve, reject) => {
    node.addEventListener("load", resolve);
    node.addEventListener("error", () => reject(new Error(`${node.src || node.href} could not be read.`)));
  });
}
