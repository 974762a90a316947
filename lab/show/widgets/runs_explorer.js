import {
  ask, button, choice, controls, element, follow, followDrawing, numberField, panel, slider, status, surprise, surpriseKey,
  textField, ticks, tokens,
} from "./base.js";
import { chart } from "./chart.js";

const bits = (score) => (score === null ? "unfinished" : `${score.toFixed(3)} bits per character`);

function render({ model, el }) {
  const drawing = () => model.get("drawing");
  const write = async (what) => {
    await ask(model, what);
    while (model.get("busy")) await ask(model, "more");
  };
  const generate = button("Generate", () => write("generate"), { class: "lab-main" });
  const stop = button("Stop", () => ask(model, "stop"));
  follow(model, ["busy"], () => (stop.disabled = !model.get("busy")));

  // A run is a line; small marks are what was measured on the way, the large one at its end is its score.
  const curves = element("div", { class: "lab-curves" });
  followDrawing(model, [], ({ curves: all, title }) => {
    const series = all.map(({ name, place, line, measured, last, score }) => ({
      name: `${name}: ${score === null ? "unfinished" : score.toFixed(3)}`, look: place, line,
      marks: [...measured.map(([x, y]) => [x, y, `${name}: ${bits(y)}`]),
        ...(score === null ? [] : [[last, score, `${name}: ${bits(score)}`, 1.6]])],
    }));
    const axes = { x: { title }, y: { title: "bits per character while training; in the key, of the validation lines" } };
    curves.replaceChildren(...(all.length ? [chart(`Training curves of ${all.map(({ name }) => name).join("; ")}, over ${title}`, axes, series)] : []));
  });
  const left = element("div", { class: "lab-problem", role: "alert", dir: "auto" });
  followDrawing(model, [], ({ left_out }) => {
    left.textContent = left_out.join("\n");
    left.hidden = left_out.length === 0;
  });

  const texts = element("div", { class: "lab-view lab-cards" });
  follow(model, ["texts", "drawing"], () => {
    const scores = Object.fromEntries((drawing().curves ?? []).map(({ name, score }) => [name, score]));
    texts.replaceChildren(...model.get("texts").filter((text) => text.tokens.length).map((text) => {
      const look = (i) => {
        const [, probability, details] = text.tokens[i - 1] ?? [];
        if (probability === undefined) return { class: "lab-given" };
        return { class: "lab-written", style: surprise(probability), title: details || null };
      };
      return element("div", { class: "lab-card" },
        element("h4", { class: "lab-heading" }, element("bdi", {}, text.name), " ",
          element("span", { class: "lab-note" }, bits(scores[text.voice] ?? null))),
        tokens([text.prompt, ...text.tokens.map(([name]) => name)], look));
    }));
  });
  const said = status(model, ["models", "busy"], ({ names }) =>
    model.get("busy") ? "writing" : names.length && !model.get("models").length ? "Pick a run." : "");
  const meaning = element("div", { class: "lab-note" }, ...surpriseKey());
  follow(model, ["texts"], () => (meaning.hidden = !model.get("texts").some((text) => text.tokens.length)));

  panel(el, model, "Runs explorer", left,
    ticks(model, "models", "runs", { options: () => drawing().names ?? [] }),
    controls(choice(model, "x", "over", { options: () => drawing().over ?? [] })), curves,
    controls(
      textField(model, "prompt", "prompt"),
      slider(model, "temperature", "temperature", { max: 2, step: 0.05, say: (t) => t.toFixed(2) }),
      numberField(model, "seed", "seed")),
    element("div", { class: "lab-buttons" }, generate, stop, said), texts, meaning);
  if (model.get("busy")) write("more"); // a page that was opened anew goes on with what was being written
}

export default { render };
