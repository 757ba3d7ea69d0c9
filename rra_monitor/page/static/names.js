// Names of layers where there is little room.

const LONGEST = 20; // letters of a tick label
export const LETTER = 6.1; // width of one letter of a tick label, about

// Without the module that all layers but the input are in: "network.layer1.0" is "layer1.0" where all begin with it.
export function withoutShared(layers) {
  const inner = layers.filter((layer) => layer !== "input");
  if (inner.length < 2) return layers;
  const parts = inner.map((layer) => layer.split("."));
  let shared = 0;
  while (parts.every((part) => part.length > shared + 1 && part[shared] === parts[0][shared])) shared += 1;
  return layers.map((layer) => (layer === "input" ? layer : layer.split(".").slice(shared).join(".")));
}

// The end tells layers apart more often than the middle.
export function shortened(text) {
  return text.length <= LONGEST ? text : `${text.slice(0, 8)}…${text.slice(9 - LONGEST)}`;
}

export function widest(names) {
  return withoutShared(names).reduce((most, name) => Math.max(most, Math.min(LONGEST, name.length)), 1) * LETTER;
}
