import { controls, element, follow, followDrawing, note, panel, put, slider, status, textField, tick } from "./base.js";

const MAP = 284, LINES = 96, BAR = 52, LETTER = 7.4; // pixels: widths of the map, the lines, a bar of 100%, a letter
const SHARES = [0, 0.02, 0.1, 0.25, 0.5, 1];
const LEAST = 0.01; // shares below are not drawn as lines

// Ever darker, so that it reads without colour; by the square root of the share, so that 2% is seen beside 100%.
function colour(share) {
  const at = 3 * Math.sqrt(share), step = Math.min(2, Math.floor(at));
  return `color-mix(in srgb, var(--share-${step + 1}) ${Math.round(100 * (at - step))}%, var(--share-${step}))`;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const wide = (name) => [...name].reduce((sum, letter) => sum + (letter.codePointAt(0) > 0x2e7f ? 2 : 1), 0);

// Where things stand, the same in both pictures, so that their rows meet where they stand beside each other.
function places(names) {
  const high = names.length <= 16 ? 24 : names.length <= 32 ? 20 : 16, room = Math.max(44, LETTER * Math.max(...names.map(wide)));
  const top = room + 14;
  return { high, room, top, middle: (row) => top + (row + 0.5) * high, foot: top + names.length * high + 4 };
}

const text = (x, y, words, more = {}) => element("text", { x, y, dy: "0.35em", ...more }, words);
const END = { "text-anchor": "end" };

// Queries down, keys across. `point(row)` is told of the row under the mouse, `choose(row)` of one that is clicked.
function map(names, weights, point, choose) {
  const { high, room, top, middle, foot } = places(names), cell = Math.min(high, MAP / names.length), left = room + 8;
  const every = Math.ceil(13 / cell); // so that the names above do not touch
  const above = names.map((name, i) => i % every === 0 &&
    element("text", { transform: `translate(${left + (i + 0.5) * cell + 4},${top - 6}) rotate(-90)` }, name)).filter(Boolean);
  const rows = weights.map((shares, i) => element("g", { class: "lab-query", onmouseenter: () => point(i), onclick: () => choose(i) },
    element("rect", { x: 0, y: top + i * high, width: left + names.length * cell, height: high, class: "lab-empty" }),
    text(room, middle(i), names[i], END),
    ...shares.map((share, j) => share > 0 && element("rect", { x: left + j * cell, y: top + i * high, width: cell + 0.3,
      height: high + 0.3, style: `fill: ${colour(share)}` })).filter(Boolean)));
  const under = element("rect", { x: left, y: top, width: names.length * cell, height: names.length * high, style: `fill: ${colour(0)}` });
  const spot = element("rect", { class: "lab-spot", x: 1, width: left + names.length * cell, height: high, rx: 3 });
  const size = { width: left + names.length * cell + 4, height: foot };
  const made = element("svg", { ...size, "aria-hidden": "true", onmouseleave: () => point(null) }, under, ...above, ...rows, spot);
  return { made, frame: (row) => spot.setAttribute("y", top + row * high) };
}

// Lines from a query to what it attends to, wider and darker for a larger share, and the shares as bars.
function lines(names, shares, query) {
  const { high, room, top, middle, foot } = places(names);
  const start = room + 6, stop = start + LINES, keys = stop + 6, bars = keys + room + 8;
  const drawn = shares.map((share, key) => [share, key]).filter(([share]) => share >= LEAST).sort(([a], [b]) => a - b);
  const paths = drawn.map(([share, key]) => {
    const d = `M${start},${middle(query)}C${start + LINES / 2},${middle(query)} ${stop - LINES / 2},${middle(key)} ${stop},${middle(key)}`;
    return element("path", { class: "lab-line", d, "stroke-width": 1 + 8 * share, "stroke-opacity": 0.25 + 0.75 * share });
  });
  const given = drawn.flatMap(([share, key]) => [
    element("rect", { class: "lab-share", x: bars, y: middle(key) - 5, width: BAR * share, height: 10 }),
    text(bars + BAR * share + 4, middle(key), percent(share))]);
  const heads = [text(room, top - 12, "query", END), text(keys, top - 12, "key"), text(bars, top - 12, "share")];
  return element("svg", { width: bars + BAR + 46, height: foot, "aria-hidden": "true" },
    element("rect", { class: "lab-spot", x: 1, y: top + query * high, width: room + 4, height: high, rx: 3 }), ...heads,
    ...names.map((name, i) => text(room, middle(i), name, { ...END, class: i === query ? "lab-chosen" : "lab-other" })),
    ...paths, ...names.map((name, i) => text(keys, middle(i), name)), ...given);
}

function render({ model, el }) {
  const drawing = () => model.get("drawing");
  const last = { layer: () => (drawing().maps?.length ?? 1) - 1, head: () => (heads()?.length ?? 1) - 1,
    query: () => (drawing().tokens?.length ?? 1) - 1 };
  const at = (name) => Math.min(model.get(name), last[name]());
  const heads = () => drawing().maps?.[at("layer")];
  // The shares that are asked for: of one head, or the mean of all, as `weights[query][key]`.
  const weights = () => {
    const chosen = model.get("mean") ? heads() : [heads()[at("head")]];
    return chosen[0].map((row, i) => row.map((_, j) => chosen.reduce((sum, head) => sum + head[i][j], 0) / chosen.length / 1e4));
  };

  const beside = element("div", { class: "lab-view lab-attention" }), over = element("div", { class: "lab-scroll" }), of = element("div", { class: "lab-scroll" });
  beside.append(over, of);
  let frame = () => {}, shown = [];
  const show = (row) => {
    frame(row ?? at("query"));
    of.replaceChildren(lines(drawing().tokens, shown[row ?? at("query")], row ?? at("query")));
  };
  const traits = ["layer", "head", "mean"];
  followDrawing(model, traits, ({ tokens }) => {
    shown = weights();
    const drawn = map(tokens, shown, show, (row) => put(model, "query", row));
    frame = drawn.frame;
    over.replaceChildren(drawn.made);
    show();
  });
  followDrawing(model, ["query"], () => show());

  const said = status(model, [...traits, "query"], ({ tokens, maps }) => {
    const query = at("query"), named = (i) => `“${tokens[i]}”`;
    const most = weights()[query].map((share, key) => [share, key]).filter(([share]) => share > 0)
      .sort(([a], [b]) => b - a).slice(0, 3).map(([share, key]) => `${named(key)} (${key}) ${percent(share)}`);
    const which = model.get("mean") ? `mean of ${heads().length} heads` : `head ${at("head")} of ${heads().length}`;
    return `Layer ${at("layer")} of ${maps.length}, ${which}, counted from 0: ${named(query)} (token ${query}) attends ` +
      (most.length ? `most to ${most.join(", ")}` : "to nothing");
  });
  const notice = element("div", { class: "lab-problem", role: "alert", dir: "auto" });
  follow(model, ["drawing"], () => {
    notice.textContent = drawing().notice ?? "";
    notice.hidden = !notice.textContent;
  });
  const key = element("div", { class: "lab-note lab-colours" }, "share of attention: ", ...SHARES.map((share) =>
    element("span", {}, element("span", { class: "lab-colour", style: `background: ${colour(share)}` }), ` ${100 * share}%`)));
  const moved = (name, label, more = {}) =>
    slider(model, name, label, { max: last[name], say: () => String(at(name)), follows: traits, ...more });
  panel(el, model, "Attention explorer",
    model.get("sentence") === null ? element("div", { hidden: true }) : textField(model, "sentence", "sentence"), notice,
    controls(moved("layer", "layer"), moved("head", "head", { when: () => !model.get("mean") }),
      moved("query", "token", { say: () => `${at("query")}  ${drawing().tokens?.[at("query")] ?? ""}` }),
      tick(model, "mean", "mean of the heads")),
    beside, said, key,
    note("A row of the map is a token that attends (the query), a column one that is attended to (a key). Point at a row to see its lines; a click keeps them."));
}

export default { render };
