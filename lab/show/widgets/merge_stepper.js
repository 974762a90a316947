import { counted, element, followDrawing, panel, player, slider, status, textField, tint, tokens } from "./base.js";

// The tokens after the first `number` merges: each joins two neighbours at the places that Python found.
function after(drawing, number) {
  let texts = drawing.start;
  for (const { joined, at } of drawing.steps.slice(0, number)) {
    const places = new Set(at), next = [];
    for (let i = 0; i < texts.length; i++) {
      const joins = places.has(next.length);
      next.push(joins ? joined : texts[i]);
      if (joins) i++;
    }
    texts = next;
  }
  return texts;
}

function render({ model, el }) {
  const last = () => model.get("drawing").steps?.length ?? 0;
  const step = () => Math.min(model.get("step"), last());
  const view = element("div", { class: "lab-view" });
  let texts = [];
  followDrawing(model, ["step"], (drawing) => {
    texts = after(drawing, step());
    const joined = new Set(step() ? drawing.steps[step() - 1].at : []);
    view.replaceChildren(tokens(texts, (i) => ({ class: `${tint(i)} ${joined.has(i) ? "lab-marked" : ""}` })));
  });
  const said = status(model, ["step"], ({ steps, merges }) => {
    const made = step() && steps[step() - 1];
    const what = made
      ? `merge ${made.merge} of ${merges} joins “${made.left}” and “${made.right}” (underlined)`
      : "before any merge, one token a byte";
    return `step ${step()} of ${last()}: ${what}; ${counted(texts.length, "token")}`;
  });
  const merges = slider(model, "step", "merges", { max: last, say: () => `${step()} of ${last()}` });
  const moving = element("div", { class: "lab-buttons" }, merges, player(model, "step", last, 300));
  panel(el, model, "Merge stepper", textField(model, "text", "text"), moving, view, said);
}

export default { render };
