// What the reader chose, as plain values, kept in the URL so that a view can be sent to a colleague.

const DEFAULTS = {
  filter: "", // regular expression that names of runs have to match
  groups: "", // regular expression whose first capture is a run's group; empty: the groups of the data
  bands: "", // "1": mean and range of each group instead of its runs; "0": runs; empty: bands if the data have groups
  runs: null, // names of the runs shown, null: the first few
  probe: "",
  view: "full",
  metric: "nnls_prev",
  epoch: "", // "3", or "3.1" for the second frame of that epoch; empty: the last
  run: "", // whose matrices are shown
  a: "", // A and B of the difference: run, and epoch or empty for the slider's
  ae: "",
  b: "",
  be: "",
  kind: "self", // of matrix in the difference
  theme: "", // "light" or "dark"; empty: the system's
};

export function parse(text) {
  const given = new URLSearchParams(text);
  const state = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS)) {
    if (name === "runs") state.runs = given.has("runs") ? given.getAll("runs").filter((run) => run !== "") : null;
    else if (given.has(name)) state[name] = given.get(name);
  }
  return state;
}

export function format(state) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "runs" && value !== null) (value.length ? value : [""]).forEach((run) => given.append("runs", run));
    else if (name !== "runs" && value !== DEFAULTS[name]) given.set(name, value);
  }
  return given.toString();
}

export function createState(address) {
  let current = parse(address.read() ?? "");
  const listeners = [];
  const tell = (changed) => listeners.forEach((listener) => listener(current, changed));
  address.listen(() => {
    if (address.read() === format(current)) return;
    current = parse(address.read());
    tell(Object.keys(DEFAULTS));
  });
  return {
    get: () => current,
    set(changes) {
      const changed = Object.keys(changes).filter((name) => changes[name] !== current[name]);
      if (!changed.length) return;
      current = { ...current, ...changes };
      address.write(format(current));
      tell(changed);
    },
    listen: (listener) => listeners.push(listener),
  };
}
