// What the curves and matrices are called, and the scale each is drawn on: as it came with the runs, see page/titles.py.

const curves = new Map();
const matrices = new Map();

// The first run to have a name says what it means.
export function learn(titles) {
  for (const [known, found] of [[curves, titles.curves], [matrices, titles.matrices]]) {
    for (const [name, about] of Object.entries(found)) if (!known.has(name)) known.set(name, readable(about));
  }
}

const readable = (about) => ({ ...about, fraction: about.low === 0 && about.high === 1 });
const UNKNOWN = { title: "", symbol: "", choice: "", unit: "", digits: 3, low: null, high: null, depends_on_k: true, order: 1e6, error: null, chance: null, beside: null, method: "" };
const named = (known, name) => known.get(name) ?? { ...UNKNOWN, title: name, symbol: name, choice: name };

export const metric = (name) => named(curves, name);
export const matrixAbout = (kind) => named(matrices, kind);

const MAIN = 1000; // as in page/titles.py: below it a curve is always shown

export const isMain = (name) => metric(name).order < MAIN;

// The numbers that people read first come first.
const byOrder = (about) => (a, b) => about(a).order - about(b).order || a.localeCompare(b);
export const ordered = (names) => [...names].sort(byOrder(metric));
export const orderedKinds = (kinds) => [...kinds].sort(byOrder(matrixAbout));

// The curves that are always shown, then the chosen one.
export function shownWith(chosen, metrics) {
  return metrics.filter((name) => isMain(name) || name === chosen);
}
