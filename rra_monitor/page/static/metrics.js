// What the curves are called, and the scale each is drawn on.

// title: over a chart; short: the unit beside it; choice: in the selector.
const KNOWN = {
  id: { title: "Intrinsic dimension", short: "ID", choice: "ID: intrinsic dimension", digits: 2 },
  nncs: { title: "Class similarity", short: "NNCS", choice: "NNCS: class similarity", fraction: true, digits: 3 },
  id_error: { title: "Standard error of the ID", short: "± ID", choice: "ID: standard error", digits: 2 },
  ties: { title: "Samples with a tied k-th distance", short: "ties", choice: "Tied k-th distances", fraction: true, digits: 3 },
  zeros: { title: "Samples with a duplicate", short: "duplicates", choice: "Duplicates", fraction: true, digits: 3 },
  recall: { title: "Recall of the graphs", short: "recall", choice: "Recall", fraction: true, digits: 3 },
  hubness: { title: "Hubness (skewness of the k-occurrence)", short: "hubness", choice: "Hubness", digits: 2 },
};

export function metric(name) {
  if (Object.hasOwn(KNOWN, name)) return KNOWN[name];
  const other = name.replace(/^nnls_/, "");
  return { title: `Similarity to the ${comparison(other)}`, short: "NNLS", choice: `NNLS: ${comparison(other)}`, fraction: true, digits: 3, nnls: true };
}

export function comparison(name) {
  return name === "prev" ? "previous snapshot" : `reference ${name.replace(/^ref-/, "")}`;
}

export function matrixTitle(kind) {
  if (kind === "self") return "with itself";
  if (kind === "inter") return "full view with its pooled view";
  return `with the ${comparison(kind)}`;
}

const ORDER = ["id", "nncs", "nnls_prev"];
const LAST = ["id_error", "ties", "zeros", "recall", "hubness"];

// The numbers that people read first come first.
export function ordered(names) {
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : LAST.includes(name) ? 100 + LAST.indexOf(name) : 50);
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

export const orderedKinds = (kinds) => {
  const rank = (kind) => (["self", "prev"].includes(kind) ? ["self", "prev"].indexOf(kind) : kind === "inter" ? 100 : 50);
  return [...kinds].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
};
