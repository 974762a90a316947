import { controls, element, followDrawing, panel, player, slider, status, textField } from "./base.js";

const WIDE = 88, HIGH = 34, ACROSS = 126, DOWN = 42, ROOT = 60, MARGIN = 12; // pixels: of a box, and from one to the next
const FATES = { leading: "the leading line", alive: "a line that is kept", finished: "a line that has ended", pruned: "given up" };

// The tree after `upto` steps: a column a step, the prompt at the left. All that is to come has its place already, so
// that nothing jumps. `point` is told of the candidate that is pointed at, or reached with the tab key.
function tree({ nodes, fates }, upto, point) {
  const rows = fates.map((_, i) => nodes.filter(({ step }) => step === i + 1).length);
  const high = 2 * MARGIN + Math.max(...rows) * DOWN, wide = 2 * MARGIN + ROOT + rows.length * ACROSS;
  const left = ({ step }) => MARGIN + ROOT + step * ACROSS - WIDE;
  const top = ({ step, row }) => (high - rows[step - 1] * DOWN) / 2 + row * DOWN + (DOWN - HIGH) / 2;
  const shown = nodes.slice(0, fates[upto - 1]?.length ?? 0).map((node, i) => ({ ...node, fate: fates[upto - 1][i] }));

  const edges = shown.map((node) => {
    const parent = nodes[node.parent];
    const [x, y] = parent ? [left(parent) + WIDE, top(parent) + HIGH / 2] : [MARGIN + ROOT, high / 2];
    const across = left(node) - x, down = top(node) + HIGH / 2 - y;
    const d = `M${x},${y}c${across / 2},0 ${across / 2},${down} ${across},${down}`;
    return element("path", { class: `lab-edge lab-${node.fate}`, d });
  });
  const boxes = shown.map((node) => {
    const said = `step ${node.step}: “${node.text}”, log-probability ${node.log_probability.toFixed(2)}, ` +
      `in total ${node.total.toFixed(2)}; ${FATES[node.fate]}`;
    const look = { class: `lab-node lab-${node.fate}`, tabindex: 0, role: "img", "aria-label": said };
    const [x, y] = [left(node), top(node)];
    return element("g", { ...look, onfocus: () => point(said), onmouseenter: () => point(said) },
      element("rect", { x, y, width: WIDE, height: HIGH, rx: 5 }),
      element("text", { x: x + 7, y: y + 15, class: "lab-name" }, node.label),
      element("text", { x: x + 7, y: y + 28 }, node.total.toFixed(2)));
  });
  edges.sort((a, b) => b.classList.contains("lab-pruned") - a.classList.contains("lab-pruned")); // those lie below
  const root = [element("rect", { class: "lab-root", x: MARGIN, y: (high - HIGH) / 2, width: ROOT, height: HIGH, rx: 5 }),
    element("text", { x: MARGIN + ROOT / 2, y: high / 2 + 4, "text-anchor": "middle" }, "prompt")];
  return element("svg", { class: "lab-tree", role: "group", "aria-label": "tree of a beam search", width: wide, height: high },
    ...edges, ...root, ...boxes);
}

function table(lines) {
  const names = ["", "line", "log-probability", "tokens", "score"];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  const rows = lines.map(([text, logProbability, count, score], i) =>
    element("tr", {}, ...[i + 1, element("bdi", {}, text), logProbability.toFixed(2), count, score.toFixed(3)]
      .map((cell) => element("td", {}, cell))));
  return element("table", { class: "lab-lines" }, element("thead", {}, head), element("tbody", {}, ...rows));
}

function render({ model, el }) {
  const last = () => model.get("drawing").fates?.length ?? 0;
  const step = () => Math.min(model.get("step"), last());
  const view = element("div", { class: "lab-view lab-scroll" }), lines = element("div");
  const pointed = element("div", { class: "lab-note lab-pointed", dir: "auto" });
  followDrawing(model, ["step"], (drawing) => {
    pointed.textContent = "Point at a candidate, or go to it with the tab key, to see its log-probability.";
    view.replaceChildren(tree(drawing, step(), (said) => (pointed.textContent = said)));
    view.scrollLeft = 2 * MARGIN + ROOT + step() * ACROSS - view.clientWidth; // on a phone the last step is what is seen
    const ended = drawing.lines[step() - 1] ?? [];
    lines.replaceChildren(...(ended.length ? [table(ended)] : []));
  });
  const said = status(model, ["step"], (drawing) => {
    const ended = drawing.lines[step() - 1]?.length;
    const so = drawing.over[step() - 1] ? "The search is over. Its lines, the best score first:"
      : ended ? "Lines that have ended so far, the best score first:" : "No line has ended yet.";
    return `After step ${step()} of ${last()}. ${so}`;
  });
  const most = (i) => () => model.get("drawing").most?.[i] ?? 1;
  const signs = Object.entries(FATES).map(([fate, meaning]) => element("span", {},
    element("svg", { width: 20, height: 14, "aria-hidden": "true", class: `lab-tree lab-node lab-${fate}` },
      element("rect", { x: 2, y: 2, width: 16, height: 10, rx: 3 })), ` ${meaning}`));
  panel(el, model, "Beam viewer",
    controls(
      textField(model, "prompt", "prompt"),
      slider(model, "beams", "beams", { min: 1, max: most(0) }),
      slider(model, "length", "tokens", { min: 1, max: most(1), hint: "of the longest lines" }),
      slider(model, "length_penalty", "length penalty",
        { min: -1, max: 3, step: 0.1, say: (p) => p.toFixed(1), hint: "above 0 favours long lines" })),
    element("div", { class: "lab-buttons" },
      slider(model, "step", "after step", { max: last, say: () => `${step()} of ${last()}` }), player(model, "step", last, 900)),
    view, element("div", { class: "lab-note lab-signs" }, ...signs), pointed, said, lines);
}

export default { render };
