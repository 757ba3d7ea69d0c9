// A reader's regular expression, matched in time that grows linearly with the name: an address can carry any expression,
// and one that backtracks would stall the page at every draw.
//
// All alternatives are followed at once, in the order of their priority (Thompson's construction, Pike's threads), so
// that what is found is what RegExp finds. Single characters and classes are left to RegExp. Look-around is worked out
// for all places of a name together. Back references cannot be matched in linear time and are refused.

const MOST_LETTERS = 2000; // of an expression
const MOST_STEPS = 5000; // of its program: a{1000}{1000} would have a million
const MOST_WORK = 2e7; // over all names that one expression is asked for: about a second

// {exec(name) -> [match, first group] or null, error}. Throws where the text is no expression that can be matched.
export function compiled(text) {
  new RegExp(text); // its own words on what is wrong
  if (text.length > MOST_LETTERS) throw new Error(`it has ${text.length} letters, at most ${MOST_LETTERS} are matched`);
  const program = programOf(parsed(text), false);
  const known = new Map();
  let work = 0;
  return {
    error: null,
    exec(name) {
      if (this.error) return [""];
      try {
        if (!known.has(name)) known.set(name, searched(program, name, () => spend()));
        return known.get(name);
      } catch (error) {
        this.error = error.message;
        return [""];
      }
    },
  };

  function spend() {
    work += 1;
    if (work > MOST_WORK) throw new Error("it takes too long for these names");
  }
}

// The expression as a tree: {kind: "char" | "place" | "sequence" | "choice" | "repeat" | "group" | "look", …}.
function parsed(text) {
  let at = 0;
  let groups = 0;
  const next = (token) => {
    token.lastIndex = at;
    const found = token.exec(text);
    if (found) at = token.lastIndex;
    return found;
  };

  function choice() {
    const options = [sequence()];
    while (next(/\|/y)) options.push(sequence());
    return options.length === 1 ? options[0] : { kind: "choice", options };
  }

  function sequence() {
    const items = [];
    while (at < text.length && text[at] !== "|" && text[at] !== ")") items.push(repeated(atom()));
    return { kind: "sequence", items };
  }

  function repeated(node) {
    const found = next(/(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})(\??)/y);
    if (!found) return node;
    const [, sign, low, comma, high, lazy] = found;
    const min = sign ? Number(sign === "+") : Number(low);
    const max = sign ? (sign === "?" ? 1 : Infinity) : comma ? Number(high || Infinity) : min;
    return { kind: "repeat", node, min, max, lazy: lazy === "?" };
  }

  function atom() {
    if (next(/\^/y)) return { kind: "place", holds: (_, place) => place === 0 };
    if (next(/\$/y)) return { kind: "place", holds: (name, place) => place === name.length };
    const edge = next(/\\([bB])/y);
    if (edge) return { kind: "place", holds: (name, place) => (isWord(name[place - 1]) !== isWord(name[place])) === (edge[1] === "b") };
    const look = next(/\(\?(<?)([=!])/y);
    if (look) return closed({ kind: "look", ahead: look[1] === "", wanted: look[2] === "=" });
    if (next(/\(\?:/y)) return closed({ kind: "group", number: 0 });
    if (next(/\((?!\?)|\(\?<(?![=!])[^>]*>/y)) return closed({ kind: "group", number: (groups += 1) });
    if (next(/\(\?/y)) throw new Error("(? with letters after it is not matched here");
    if (next(/\\[1-9k]/y)) throw new Error("references to groups are not matched here");
    return { kind: "char", takes: single(next(/\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|c[A-Za-z]|0[0-7]{0,2}|[^])|\[(?:\\[^]|[^\]\\])*\]|[^]/y)[0]) };
  }

  function closed(node) {
    node.inner = choice();
    next(/\)/y);
    return node;
  }

  return choice();
}

const isWord = (letter) => letter !== undefined && /\w/.test(letter);

function single(source) {
  if (source.length === 1 && source !== ".") return (letter) => letter === source;
  const expression = new RegExp(`^(?:${source})$`);
  return (letter) => expression.test(letter);
}

// A tree as steps; backwards where it is read from its end to its beginning.
function programOf(tree, backwards) {
  const steps = [];
  const add = (step) => {
    if (steps.length >= MOST_STEPS) throw new Error("it is too long when written out");
    return steps[steps.push(step) - 1];
  };
  const write = {
    char: ({ takes }) => add({ kind: "char", takes }),
    place: ({ holds }) => add({ kind: "place", holds: () => holds }),
    sequence: ({ items }) => (backwards ? [...items].reverse() : items).forEach(emit),
    choice({ options }) {
      const ends = options.slice(0, -1).map((option) => {
        const fork = add({ kind: "fork", first: steps.length + 1 });
        emit(option);
        const end = add({ kind: "go" });
        fork.second = steps.length;
        return end;
      });
      emit(options[options.length - 1]);
      ends.forEach((end) => (end.to = steps.length));
    },
    repeat({ node, min, max, lazy }) {
      const once = () => {
        if (holdsFirst(node)) add({ kind: "mark", slot: null }); // what a group took the last time is forgotten
        emit(node);
      };
      for (let count = 0; count < min; count += 1) once();
      const forks = [];
      const fork = () => forks.push(add({ kind: "fork", body: steps.length + 1 }));
      if (max === Infinity) {
        fork();
        const start = steps.length - 1;
        once();
        add({ kind: "go", to: start });
      } else for (let count = min; count < max; count += 1) (fork(), once());
      for (const one of forks) [one.first, one.second] = lazy ? [steps.length, one.body] : [one.body, steps.length];
    },
    group({ number, inner }) {
      if (number === 1) add({ kind: "mark", slot: 1 });
      emit(inner);
      if (number === 1) add({ kind: "mark", slot: 2 });
    },
    look({ ahead, wanted, inner }) {
      if (wanted && holdsFirst(inner)) throw new Error("a group within a look-around is not matched here, use (?:…)");
      const program = programOf(inner, ahead);
      add({ kind: "place", holds: (tables) => (_, place) => tables(program)[place] === wanted });
    },
  };
  const emit = (node) => write[node.kind](node);
  emit(tree);
  add({ kind: "end" });
  return { steps, backwards };
}

const holdsFirst = (node) => node.number === 1 || [node.node, node.inner, ...(node.items ?? node.options ?? [])].some((one) => one && holdsFirst(one));

// The first match, as RegExp has it: [text, first group], or null.
function searched(program, name, spend) {
  const marks = walked(program, name, spend, tablesOf(name, spend), null);
  if (!marks) return null;
  const [start, from, to, end] = marks;
  return [name.slice(start, end), to === undefined ? undefined : name.slice(from, to)];
}

// For a program within a look-around: whether it ends at each place, wherever it began; each is worked out once.
function tablesOf(name, spend) {
  const known = new Map();
  const tables = (program) => {
    if (!known.has(program)) {
      const ends = new Array(name.length + 1).fill(false);
      walked(program, name, spend, tables, ends);
      known.set(program, ends);
    }
    return known.get(program);
  };
  return tables;
}

// With `ends`, notes at which places the program ends. Without, returns [start, group's start, group's end, end] or null.
function walked({ steps, backwards }, name, spend, tables, ends) {
  const seen = new Int32Array(steps.length).fill(-1);
  let [found, threads] = [null, []];
  for (let count = 0; count <= name.length; count += 1) {
    const place = backwards ? name.length - count : count;
    if (!found) follow(threads, 0, [place], count);
    const [letter, later] = [name[backwards ? place - 1 : place], []];
    for (const [step, marks] of threads) {
      spend();
      if (steps[step].kind === "end") {
        if (ends) ends[place] = true;
        else {
          found = [marks[0], marks[1], marks[2], place];
          break; // the others come after it
        }
      } else if (letter !== undefined && steps[step].takes(letter)) follow(later, step + 1, marks, count + 1);
    }
    threads = later;
    if (found && !threads.length) break;
  }
  return found;

  // Adds what can be reached from a step without a letter, best first.
  function follow(list, first, marks, count) {
    const place = backwards ? name.length - count : count;
    const waiting = [[first, marks]];
    while (waiting.length) {
      const [at, here] = waiting.pop();
      if (seen[at] === count) continue;
      seen[at] = count;
      spend();
      const step = steps[at];
      if (step.kind === "go") waiting.push([step.to, here]);
      else if (step.kind === "fork") waiting.push([step.second, here], [step.first, here]);
      else if (step.kind === "mark") waiting.push([at + 1, marked(here, step.slot, place)]);
      else if (step.kind === "place") step.holds(tables)(name, place) && waiting.push([at + 1, here]);
      else list.push([at, here]);
    }
  }
}

function marked([start, from, to], slot, place) {
  if (slot === null) return [start];
  return slot === 1 ? [start, place, to] : [start, from, place];
}
