// Which values of probes that were measured with another n, k or estimator may be set side by side, as in same_density in rra_monitor/measure/snapshot.py.

import { union } from "./choose.js";

// The settings of a probe that decide it, the estimator of the ID only where the probes differ in it.
export function settingsText(probe, probes) {
  const estimator = probes.some((one) => one.estimator !== probe.estimator) ? `, ID by ${probe.estimator}` : "";
  return `n = ${probe.n}, k = ${probe.k}${estimator}`;
}

// k / n alike within a tenth.
function dense(a, b) {
  const [low, high] = [a.k * b.n, b.k * a.n].sort((one, other) => one - other);
  return 10 * high <= 11 * low;
}

const comparable = (about, a, b) => (!about.method || a.estimator === b.estimator) && (dense(a, b) || (!about.depends_on_k && a.n === b.n));

// What the values are called that cannot be compared between some of the probes: "NNCS and NNLS", or "".
export function notComparable(abouts, probes) {
  const wrong = abouts.filter((about) => probes.some((a) => probes.some((b) => !comparable(about, a, b))));
  return listed(union(wrong.map((about) => about.symbol)));
}

// Of what depends on n where only k / n is alike: "ID depends on n", or "".
export function ofAnotherSize(abouts, probes) {
  const sizes = new Set(probes.map((probe) => probe.n));
  const sized = union(abouts.filter((about) => !about.depends_on_k && !notComparable([about], probes)).map((about) => about.symbol));
  return sizes.size > 1 && sized.length ? `${listed(sized)} ${sized.length > 1 ? "depend" : "depends"} on n` : "";
}

const listed = (words) => (words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}` : words.join(""));
