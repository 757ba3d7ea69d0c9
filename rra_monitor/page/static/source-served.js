// Runs of a server, TensorBoard's plugin say: the list is asked for again and again, a run when it is first shown.

import { checkSchema } from "./decode.js";

export const servedSource = {
  live: 5000, // milliseconds between two looks at the list
  async list() {
    const answer = await fetchJson("runs");
    return { runs: answer.runs, message: answer.message ?? null, comparison: null };
  },
  load: (name) => fetchJson(`run?name=${encodeURIComponent(name)}`),
};

async function fetchJson(path) {
  const response = await fetch(new URL(path, import.meta.url), { cache: "no-store" });
  if (!response.ok) throw new Error((await response.text()).slice(0, 300) || `The server answered ${response.status}.`);
  const answer = await response.json();
  checkSchema(answer.schema);
  return answer;
}
