// Which values of probes that were measured with another n or k may be set side by side, as in same_density in rra_monitor/measure/snapshot.py.

import { union } from "./choose.js";
import { metric, ordered } from "./metrics.js";

const BY_SIZE = ["id", "id_error", "zeros"]; // what does not depend on k

// k / n alike within a tenth.
function dense(a, b) {
  const [low, high] = [a.k * b.n, b.k * a.n].sort((one, other) => one - other);
  return 10 * high <= 11 * low;
}

const comparable = (name, a, b) => dense(a, b) || (BY_SIZE.includes(name) && a.n === b.n);

// What the metrics among `names` are called that cannot be compared between some of the probes: "NNCS and NNLS", or "".
export function notComparable(names, probes) {
  const wrong = ordered(names).filter((name) => probes.some((a) => probes.some((b) => !comparable(name, a, b))));
  return listed(union(wrong.map((name) => metric(name).short)));
}

// What of them depends on n where only k / n is alike.
export function ofAnotherSize(names, probes) {
  const sizes = new Set(probes.map((probe) => probe.n));
  return sizes.size > 1 && names.includes("id") && !notComparable(["id"], probes) ? "ID" : "";
}

const listed = (words) => (words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}` : words.join(""));
