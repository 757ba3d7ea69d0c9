// Names of layers where there is little room.

const LONGEST = 20; // letters of a tick label
export const LETTER = 6.1; // width of one letter of a tick label, about

// The end tells layers apart more often than the middle.
export function shortened(text) {
  return text.length <= LONGEST ? text : `${text.slice(0, 8)}…${text.slice(9 - LONGEST)}`;
}

export function widest(names) {
  return names.reduce((most, name) => Math.max(most, Math.min(LONGEST, name.length)), 1) * LETTER;
}
