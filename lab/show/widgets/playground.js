import { counted, element, followDrawing, panel, status, textField, tick, tint, tokens } from "./base.js";

// How a text was cut, such as "vocabulary 280: 10 tokens, 1.00 characters each".
function told({ tokens: texts, unknown, vocabulary }, characters) {
  const rate = texts.length ? `, ${(characters / texts.length).toFixed(2)} characters each` : "";
  const missed = unknown ? `, ${unknown.toLocaleString("en")} unknown` : "";
  return `vocabulary ${vocabulary.toLocaleString("en")}: ${counted(texts.length, "token")}${rate}${missed}`;
}

function render({ model, el }) {
  const view = element("div", { class: "lab-view" });
  followDrawing(model, ["ids"], ({ characters, cuts }) => {
    view.replaceChildren(...cuts.map((cut) => {
      const heading = element("h4", { class: "lab-heading" }, element("bdi", {}, cut.name));
      if (cut.problem) return element("div", {}, heading, element("div", { class: "lab-problem" }, cut.problem));
      heading.append(" ", element("span", { class: "lab-note" }, told(cut, characters)));
      const below = model.get("ids") ? (i) => String(cut.ids[i]) : null;
      return element("div", {}, heading, tokens(cut.tokens, (i) => ({ class: tint(i) }), below));
    }));
  });
  const said = status(model, [], ({ cuts }) =>
    cuts.map(({ name, tokens: texts }) => `${name}: ${texts ? counted(texts.length, "token") : "cannot cut it"}`).join("; "));
  said.classList.add("lab-unseen"); // the headings say it to those who see
  panel(el, model, "Tokenizer playground",
    textField(model, "text", "text", { rows: 3 }), tick(model, "ids", "show ids"), view, said);
}

export default { render };
