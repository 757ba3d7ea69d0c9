// Entry of the report: everything it needs stands in the document.

import { start } from "./app.js";
import { embeddedSource, inflated } from "./source-embedded.js";

const root = document.getElementById("rra");
const text = (id) => document.getElementById(id).textContent;

try {
  const [source] = await Promise.all([embeddedSource(text("rra-data")), loadPlotly()]);
  await start(root, source, window.Plotly);
} catch (error) {
  root.firstElementChild.textContent = `The report could not be opened: ${error.message}`;
  throw error;
}

async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await new Response(inflated(text("rra-plotly"))).text();
  document.head.append(script);
}
