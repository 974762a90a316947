import { ask, button, choice, controls, element, followDrawing, note, panel, status, textField } from "./base.js";

const LARGEST = 6e6; // bytes: a notebook's line to its kernel takes about so much, and a model reads some seconds
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function render({ model, el }) {
  const drawing = () => model.get("drawing");

  const say = () => ask(model, "say");
  const sentence = textField(model, "sentence", "sentence");
  sentence.addEventListener("keydown", ({ key }) => key === "Enter" && say());
  const load = async () => {
    const [file] = chooser.files;
    chooser.value = ""; // so that the same file can be loaded again
    if (!file) return;
    if (file.size > LARGEST) {
      model.set("problem", `${file.name} has ${(file.size / 1e6).toFixed(1)} MB: load a recording of a few seconds, of at most ${LARGEST / 1e6} MB`);
      return;
    }
    const reader = new FileReader();
    reader.onload = () => ask(model, "load", { data: reader.result.split(",")[1] ?? "" });
    reader.readAsDataURL(file);
  };
  const chooser = element("input", { type: "file", accept: ".wav,.flac", hidden: true, "aria-label": "sound file", onchange: load });

  const sound = element("audio", { controls: true, "aria-label": "what was heard" });
  const view = element("div", { class: "lab-view lab-heard" });
  followDrawing(model, [], ({ sound: source, picture, seconds, bands, letters }) => {
    sound.hidden = view.hidden = !source;
    if (!source) return;
    if (sound.src !== source) sound.src = source;
    const at = (second) => `inset-inline-start: ${(100 * second) / seconds}%`;
    const above = letters.map(([second, letter, p]) => element("span", {
      class: "lab-letter", style: at(second), title: `${second.toFixed(2)} s: “${letter}”, ${percent(p)}` }, letter));
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((one) => seconds / one <= 8) ?? 20;
    const times = Array.from({ length: Math.floor(seconds / step) + 1 }, (_, i) => i * step);
    const below = times.map((second) => element("span", { class: "lab-time", style: at(second) }, `${+second.toFixed(1)} s`));
    view.replaceChildren(
      element("div", { class: "lab-above", "aria-hidden": "true" }, ...above),
      element("img", { src: picture, alt: `the sound's picture: ${bands} mel bands over ${seconds.toFixed(1)} seconds` }),
      element("div", { class: "lab-below", "aria-hidden": "true" }, ...below));
  });

  const transcripts = element("dl", { class: "lab-transcripts" });
  followDrawing(model, [], ({ said, ctc, attention }) => {
    const row = (what, text) => [element("dt", { class: "lab-label" }, what), element("dd", { dir: "auto" }, text || "(nothing)")];
    transcripts.replaceChildren(...(said ? row("said", said) : []), ...(ctc === undefined ? [] : [...row("by CTC", ctc), ...row("by attention", attention)]));
  });
  const heard = status(model, [], ({ ctc, attention }) =>
    ctc === undefined ? "" : `by CTC: ${ctc || "nothing"}; by attention: ${attention || "nothing"}`);
  heard.classList.add("lab-unseen"); // the list says it to those who see

  panel(el, model, "Speech explorer",
    sentence,
    controls(
      choice(model, "voice", "voice", { options: () => drawing().voices ?? [model.get("voice")] }),
      element("div", { class: "lab-buttons" }, button("Speak", say, { class: "lab-main" }), button("Load WAV", () => chooser.click()), chooser)),
    sound, view, transcripts, heard,
    note("Mel bands, low ones below; light is loud. Above stands each letter where CTC began to write it. " +
      "Speaking and listening need a running notebook."));
}

export default { render };
