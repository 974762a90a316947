import {
  ask, button, choice, controls, element, followDrawing, numberField, panel, player, slider, status, textField,
} from "./base.js";
import { grids, swatches } from "./grids.js";

function render({ model, el }) {
  const drawing = () => model.get("drawing");
  const last = () => (drawing().stages?.length ?? 1) - 1;
  const stage = () => Math.min(model.get("stage"), last());

  const view = element("div", { class: "lab-view" });
  const key = element("div", { class: "lab-note" });
  followDrawing(model, ["stage"], ({ stages, columns, colours, given }) => {
    // As wide at each stage as the longest of its words, so that nothing moves while it sharpens.
    const letters = given.map((_, i) => Math.max(...stages.map(({ words }) => words[i].length)));
    view.replaceChildren(grids({ ...stages[stage()], given, letters }, columns));
    key.replaceChildren(...swatches(colours),
      " colours; paper with an edge: blank. Underlined: given. “12 fit”: twelve words agree with what is visible; " +
      "“word?”: the nearest one to a grid that is not finished; _: nothing is visible.");
  });
  const said = status(model, ["stage"], ({ stages }) => `${stages[stage()].label}: ${stages[stage()].text}`);

  const write = async () => {
    again.disabled = true;
    await ask(model, "write_anew");
    again.disabled = false;
  };
  const again = button("Write", write, { class: "lab-main" });
  panel(el, model, "Denoising viewer",
    textField(model, "text", "text", { hint: "_ is one token to write, * several" }),
    controls(
      numberField(model, "gap", "* stands for", { min: 1, max: 999, hint: "how many tokens each * is" }),
      slider(model, "steps", "steps", { min: 1, max: () => drawing().most_steps ?? 64 }),
      choice(model, "method", "method", { options: () => drawing().methods ?? [model.get("method")] }),
      slider(model, "temperature", "temperature", { max: 2, step: 0.05, say: (t) => t.toFixed(2) }),
      numberField(model, "seed", "seed", { min: 0 })),
    element("div", { class: "lab-buttons" }, again),
    element("div", { class: "lab-buttons" },
      slider(model, "stage", "after step", { max: last, say: () => `${stage()} of ${last()}` }),
      player(model, "stage", last)),
    view, said, key);
}

export default { render };
