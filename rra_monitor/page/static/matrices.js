// Matrices as the panels show them.

// One matrix of a run at its frame, in the view asked for or else the first that this kind has; null for none.
export function matrixAt(chosen, kind, view) {
  const found = chosen.probe?.matrices.get(kind);
  if (!found || chosen.at < 0 || !found.views.length) return null;
  const shown = found.views.includes(view) ? view : found.views[0];
  return { kind, view: shown, rows: found.rows, columns: found.columns, values: found.values.matrix(chosen.at, found.views.indexOf(shown)) };
}

// Said of a pooled view, and wherever it is another than the one that was chosen.
export const viewNote = ({ view }, selection) => (view !== "full" || view !== selection.view) && `view ${view}`;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
