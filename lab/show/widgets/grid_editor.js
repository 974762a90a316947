import { ask, button, element, follow, followDrawing, inRows, note, panel, put, slider, status, textField } from "./base.js";
import { cellClass, grids } from "./grids.js";

function render({ model, el }) {
  const painted = () => model.get("painted");
  const { columns, blank } = model.get("drawing");

  // A cell shows the number of its colour, for eyes that see no colours.
  const paint = (place, colour) => put(model, "painted", painted().map((old, i) => (i === place ? colour : old)));
  const cells = painted().map((_, place) => element("button", { type: "button",
    onclick: () => paint(place, (painted()[place] + 1) % (blank + 1)),
    onkeydown: ({ key }) => {
      if (/^\d$/.test(key) && Number(key) < blank) paint(place, Number(key));
      if (key === "Delete" || key === "Backspace") paint(place, blank);
    } }));
  follow(model, ["painted"], () => cells.forEach((cell, place) => {
    const colour = painted()[place];
    const where = `row ${Math.floor(place / columns) + 1}, column ${(place % columns) + 1}`;
    cell.textContent = colour === blank ? "·" : colour;
    cell.className = `lab-cell ${cellClass(colour === blank ? "." : colour)}`;
    cell.setAttribute("aria-label", `${where}: ${colour === blank ? "blank" : `colour ${colour}`}`);
    cell.title = cell.ariaLabel;
  }));

  const beside = element("div", { class: "lab-view" });
  followDrawing(model, [], (drawing) => beside.replaceChildren(grids(drawing.beside, columns)));
  const said = status(model, [], ({ told }) => told.join(" "));

  const asking = (label, question) => button(label, () => ask(model, question));
  const word = textField(model, "word", "word");
  word.addEventListener("keydown", ({ key }) => key === "Enter" && ask(model, "load"));
  panel(el, model, "Grid editor",
    element("div", { class: "lab-painting" },
      inRows({ class: "lab-grid", style: `--columns: ${columns}`, "aria-label": "cells" }, cells, columns),
      element("div", { class: "lab-tools" },
        element("div", { class: "lab-buttons" }, word, asking("Load word", "load")),
        element("div", { class: "lab-buttons" },
          slider(model, "count", "cells", { min: 1, max: cells.length }),
          asking("Recolour", "recolour"), asking("Erase", "erase")),
        beside)),
    said,
    note("Dots: cells in which a word differs from the grid. A click on a cell, or Enter, goes on to the next colour, and " +
      "after the last one the cell is blank. A digit sets its colour, Delete makes it blank, arrows move."));
}

export default { render };
