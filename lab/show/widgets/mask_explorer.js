import { controls, element, followDrawing, note, panel, put, slider, status, textField, tick } from "./base.js";

function render({ model, el }) {
  const last = () => (model.get("drawing").labels?.length ?? 1) - 1;
  const row = () => Math.min(model.get("row"), last());
  const view = element("div", { class: "lab-view lab-scroll" });

  followDrawing(model, ["row"], ({ labels, allowed }) => {
    const heading = (label, more = {}) => element("th", more, label);
    const rows = allowed.map((cells, i) =>
      element("tr", { class: i === row() && "lab-chosen", onclick: () => put(model, "row", i) },
        heading(labels[i], { scope: "row" }),
        ...cells.map((may, j) => element("td", { class: may ? "may" : "not", title: `${labels[i]} to ${labels[j]}` }))));
    const head = element("tr", {}, heading(""), ...labels.map((label) => heading(label, { scope: "col" })));
    const look = { class: "lab-mask", style: `--t: ${labels.length}` };
    view.replaceChildren(element("table", look, element("thead", {}, head), element("tbody", {}, ...rows)));
  });

  const said = status(model, ["row"], ({ labels, allowed }) => {
    const seen = labels.filter((_, j) => allowed[row()][j]).map((label) => `“${label}”`);
    return `“${labels[row()]}” may attend to ${seen.join(", ") || "nothing: it gets zeros"}`;
  });

  const longest = () => model.get("drawing").longest ?? 24;
  const width = (value) => (value ? String(value) : "off");
  const kinds = [["causal", "causal"], ["documents", "documents apart"], ["padding", "hide padding"]];
  panel(el, model, "Mask explorer",
    textField(model, "lengths", "documents", { hint: "their lengths in tokens, such as 4, 3, 2" }),
    element("div", { class: "lab-buttons" }, ...kinds.map(([name, label]) => tick(model, name, label))),
    controls(
      slider(model, "T", "slots", { min: 1, max: longest }),
      slider(model, "sliding", "sliding", { max: longest, say: width }),
      slider(model, "prefix", "prefix", { max: longest, say: width, when: () => model.get("causal"), follows: ["causal"] }),
      slider(model, "row", "row", { max: last, say: () => model.get("drawing").labels?.[row()] ?? "" })),
    note("Each row is a token that looks; blue are the tokens that it may attend to."), view, said);
}

export default { render };
