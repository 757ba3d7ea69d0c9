// Figures in a grid. Each is drawn when it is in sight, and only when what it shows has changed.

import { h, replace } from "./dom.js";

const CONFIG = {
  displaylogo: false,
  displayModeBar: "hover",
  modeBarButtons: [["toImage", "resetScale2d"]],
  doubleClick: "reset",
  responsive: false,
};

export function createGrid(plotly, className = "grid") {
  const root = h("div", { class: className });
  const figures = new Map();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const figure = entry.target.figure;
      figure.inSight = entry.isIntersecting;
      if (figure.inSight) draw(figure);
    }
  });
  const size = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const figure = entry.target.figure;
      if (figure.drawn && figure.plot.clientWidth !== figure.width) {
        figure.fresh = false;
        if (figure.inSight) draw(figure);
      }
    }
  });

  function create(key) {
    const title = h("figcaption");
    const plot = h("div", { class: "plot", role: "img" });
    const node = h("figure", { "data-key": key }, title, plot);
    const figure = { key, node, title, plot, inSight: false, fresh: false, drawn: null, moved: null, spec: null };
    node.figure = figure;
    plot.figure = figure;
    observer.observe(node);
    size.observe(plot);
    figures.set(key, figure);
    return figure;
  }

  function remove(figure) {
    observer.unobserve(figure.node);
    size.unobserve(figure.plot);
    plotly.purge(figure.plot);
    figures.delete(figure.key);
  }

  // `drawn` is what stands in the figure, `moved` what was last marked in it: a marker moves without a redraw.
  function draw(figure) {
    const { spec, plot } = figure;
    if (!spec) return;
    if (!figure.fresh) {
      const width = plot.clientWidth;
      if (!width) return;
      const { traces, layout } = spec.build(width);
      plot.style.height = `${layout.height}px`;
      plotly.react(plot, traces, layout, CONFIG);
      figure.drawn = spec.same ?? true;
      figure.fresh = true;
      figure.width = width;
      figure.moved = spec.mark?.key;
    } else if (spec.mark && figure.moved !== spec.mark.key) {
      plotly.relayout(plot, spec.mark.layout());
      figure.moved = spec.mark.key;
    }
  }

  return {
    root,
    // specs: [{key, title, note, same, build(width) -> {traces, layout}, mark: {key, layout()}, wide}]
    show(specs) {
      const wanted = new Set(specs.map((spec) => spec.key));
      for (const figure of [...figures.values()]) if (!wanted.has(figure.key)) remove(figure);
      const nodes = specs.map((spec) => {
        const figure = figures.get(spec.key) ?? create(spec.key);
        figure.spec = spec;
        figure.fresh = figure.fresh && spec.same !== undefined && spec.same === figure.drawn;
        caption(figure.title, spec);
        figure.plot.setAttribute("aria-label", [spec.title, spec.note].filter(Boolean).join(", "));
        figure.node.classList.toggle("wide", Boolean(spec.wide));
        return figure.node;
      });
      if (nodes.length !== root.children.length || nodes.some((node, at) => root.children[at] !== node)) replace(root, nodes);
      for (const figure of figures.values()) if (figure.inSight) draw(figure);
    },
  };
}

function caption(node, spec) {
  const text = `${spec.title}\n${spec.note ?? ""}`;
  if (node.text === text) return;
  node.text = text;
  replace(node, h("b", {}, spec.title), spec.note ? h("span", {}, spec.note) : null);
}
