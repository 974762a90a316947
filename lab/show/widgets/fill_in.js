import { ask, button, choice, element, followDrawing, inRows, note, panel, put, status, surprise, textField, tokens } from "./base.js";

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function render({ model, el }) {
  const hidden = () => model.get("hidden");
  const toggle = (place) =>
    put(model, "hidden", hidden().includes(place) ? hidden().filter((one) => one !== place) : [...hidden(), place].sort((a, b) => a - b));

  // Each character is a button; of one that is hidden, the guess stands beneath it.
  const view = element("div", { class: "lab-view" });
  const details = element("div", { class: "lab-status lab-details", role: "status", dir: "auto" });
  let looked = null; // the character that was pointed at last
  const tell = () => (details.textContent = buttons[looked]?.title || "Point at a guess, or go to it with Tab and the arrows, to see the others.");
  const told = ({ place, truth, likeliest, right }) =>
    `Character ${place + 1}: ${likeliest.map(([character, p]) => `“${character}” ${percent(p)}`).join(", ")}; ` +
    (right ? "right." : `it was “${truth}”.`);
  let buttons = [];
  followDrawing(model, ["hidden"], ({ characters, guesses }) => {
    const guessed = new Map(guesses.map((one) => [one.place, one]));
    if (buttons.length !== characters.length) {
      buttons = characters.map((_, place) => {
        const say = () => {
          looked = place;
          tell();
        };
        return element("button", { type: "button", onclick: () => toggle(place), onfocus: say, onmouseenter: say });
      });
      view.replaceChildren(inRows({ class: "lab-characters", dir: "auto", "aria-label": "characters" }, buttons));
    }
    buttons.forEach((made, place) => {
      const away = hidden().includes(place), one = away && guessed.get(place);
      made.className = `lab-character ${away ? "lab-away" : ""} ${one && !one.right ? "lab-wrong" : ""}`;
      made.setAttribute("aria-pressed", away);
      made.title = one ? told(one) : away ? "" : `Character ${place + 1}: press to hide it.`;
      made.replaceChildren(element("span", {}, characters[place]),
        element("span", { class: "lab-guess", style: one ? surprise(one.likeliest[0][1]) : "" }, one ? one.likeliest[0][0] : away ? "…" : ""));
    });
    tell();
  });

  const said = status(model, [], ({ guesses }) => guesses.length
    ? `${guesses.filter((one) => one.right).length} of ${guesses.length} right.`
    : "Choose characters to hide: press them, or “Hide one in five”.");

  const restored = element("div", { class: "lab-restored" });
  followDrawing(model, [], (drawing) => {
    const row = (label, shown) => element("div", {}, element("div", { class: "lab-label" }, label), shown);
    const look = (place) => {
      const [, p] = drawing.restored[place];
      return p === null ? { class: "" } : { class: "lab-guess", style: surprise(p), title: `put back, ${percent(p)}` };
    };
    restored.replaceChildren(
      row("stripped", element("div", { class: "lab-tokens", dir: "auto" }, drawing.stripped)),
      row("put back", tokens(drawing.restored.map(([character]) => character), look)));
  });

  panel(el, model, "Fill in",
    textField(model, "line", "line"),
    element("div", { class: "lab-buttons" },
      button("Hide one in five", () => ask(model, "hide_some")), button("Show all", () => put(model, "hidden", [])), said),
    view, details,
    choice(model, "removed", "strip", { options: () => model.get("drawing").removed ?? [model.get("removed")] }),
    restored,
    note("Blue: the model was sure; orange: it was not. Underlined: it was wrong."));
}

export default { render };
