import { controls, element, follow, panel, player, slider, status, textField, tokens } from "./base.js";

// The tokens after the first `number` merges: each joins two neighbours at the places that Python found.
function after(drawing, number) {
  let texts = drawing.start;
  for (const { joined, at } of drawing.steps.slice(0, number)) {
    const places = new Set(at);
    let i = 0;
    const next = [];
    while (i < texts.length) {
      const joins = places.has(next.length);
      next.push(joins ? joined : texts[i]);
      i += joins ? 2 : 1;
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
  follow(model, ["drawing", "step"], () => {
    if (!model.get("drawing").start) return;
    texts = after(model.get("drawing"), step());
    const joined = new Set(step() ? model.get("drawing").steps[step() - 1].at : []);
    const look = (place) => ({ class: `lab-tint-${place % 6} ${joined.has(place) ? "lab-marked" : ""}` });
    view.replaceChildren(tokens(texts, look));
  });
  const said = status(model, () => {
    const { start, steps, merges } = model.get("drawing");
    if (!start) return "";
    const made = step() && steps[step() - 1];
    const what = made
      ? `merge ${made.merge} of ${merges} joins “${made.left}” and “${made.right}” (underlined)`
      : "before any merge, one token a byte";
    return `step ${step()} of ${last()}: ${what}; ${texts.length} ${texts.length === 1 ? "token" : "tokens"}`;
  }, ["drawing", "step"]);
  const number = slider(model, "step", "merges", { max: last, say: () => `${step()} of ${last()}` });
  panel(el, model, "Merge stepper", textField(model, "text", "text"),
    element("div", { class: "lab-buttons" }, number, player(model, "step", last, 300)), view, said);
}

export default { render };
