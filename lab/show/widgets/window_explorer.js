import { choice, controls, counted, element, followDrawing, panel, slider, slot, status, tint } from "./base.js";

function render({ model, el }) {
  const drawing = () => model.get("drawing");
  const view = element("div", { class: "lab-view lab-slots" });

  followDrawing(model, [], ({ slots }) => {
    const names = slot(["read", "to be predicted"], { class: "lab-quiet lab-names" });
    const made = slots.map(([read, predicted], i) =>
      slot([read ?? "·", predicted ?? "·"], { class: read === null ? "lab-quiet" : tint(i) }));
    view.replaceChildren(names, ...made);
  });

  const said = status(model, [], ({ slots, index, count, line, place }) => {
    const padding = slots.filter(([read]) => read === null).length;
    return `window ${index} of ${count.toLocaleString("en")}: line ${line}, from place ${place}; ` +
      `${counted(padding, "slot")} of padding`;
  });

  panel(el, model, "Window explorer",
    controls(
      choice(model, "policy", "policy", { options: () => drawing().policies ?? [] }),
      slider(model, "context", "context", { min: 1, max: () => drawing().longest ?? 1 })),
    slider(model, "index", "window", { max: () => (drawing().count ?? 1) - 1, say: (i) => i.toLocaleString("en") }),
    view, said);
}

export default { render };
