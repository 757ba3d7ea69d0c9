// Elements without HTML strings: names of runs and layers may hold any characters, so text only ever becomes text nodes.

export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

// A labelled <select> whose options are rebuilt only when they change, so that an open or focused one stays as it is.
export function select(label, onchange) {
  const box = h("select", { onchange: () => onchange(box.value) });
  const root = h("label", { class: "field" }, h("span", {}, label), box);
  let shown = "";
  return {
    root,
    show(options, value) {
      const key = JSON.stringify(options);
      if (key !== shown) {
        replace(box, options.map((option) => h("option", { value: option.value }, option.text)));
        shown = key;
      }
      box.value = value;
      box.title = options.find((option) => option.value === value)?.text ?? "";
      root.hidden = options.length === 0;
    },
  };
}

export const options = (values, text = (value) => value) => values.map((value) => ({ value, text: text(value) }));
