// Tokens as grids of coloured cells. The cells of a grid are a text, one letter a cell, line by line: a digit is a
// colour, "." is blank (`cells_text` of lab/show/token_grids.py).

import { element } from "./base.js";

// Cells of these places get a dot.
export function grid(cells, columns, marked = []) {
  const corner = (place) => [place % columns, Math.floor(place / columns)];
  const squares = {};
  [...cells].forEach((colour, place) => {
    squares[colour] = `${squares[colour] ?? ""}M${corner(place).join(" ")}h.88v.88h-.88z`;
  });
  const paths = Object.entries(squares).map(([colour, d]) => element("path", { d, class: cellClass(colour) }));
  const dots = marked.map((place) => {
    const [x, y] = corner(place);
    return element("circle", { cx: x + 0.44, cy: y + 0.44, r: 0.22 });
  });
  const box = `-0.06 -0.06 ${columns} ${cells.length / columns}`;
  const look = { class: "lab-cells", viewBox: box, style: `--columns: ${columns}`, "aria-hidden": "true" };
  return element("svg", look, ...paths, ...dots);
}

export function cellClass(colour) {
  return `lab-cell-${colour === "." ? "blank" : colour}`;
}

// A line of grids with their words beneath, each with room for so many letters; words that were given are underlined.
export function grids({ cells, words, given = [], marked = [], letters = [] }, columns) {
  const slots = cells.map((own, i) => {
    const look = { class: `lab-grid-slot ${given[i] ? "lab-known" : ""}`, style: `min-width: ${letters[i] ?? 0}ch` };
    return element("span", look, grid(own, columns, marked[i]), element("bdi", { class: "lab-reads" }, words[i]));
  });
  return element("div", { class: "lab-slots lab-grids", dir: "auto" }, ...slots);
}

// The colours, for a key.
export function swatches(colours) {
  return Array.from({ length: colours }, (_, i) => grid(String(i), 1));
}
