import {
  ask, button, choice, controls, counted, element, follow, followDrawing, note, numberField, panel, put, slider, status,
  surprise, surpriseKey, textField, ticks, tokens,
} from "./base.js";

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;

function render({ model, el }) {
  const drawing = () => model.get("drawing");
  const used = (name) => ({ when: () => (drawing().used ?? [name]).includes(name) });

  // ---- writing: Python writes a piece at a time, for as long as the page asks for more

  const write = async (what, values) => {
    await ask(model, what, values);
    while (model.get("busy")) await ask(model, "more");
  };
  const generate = button("Generate", () => write("generate"), { class: "lab-main" });
  const stop = button("Stop", () => ask(model, "stop"));
  const goOn = button("Continue", () => write("go_on"));
  follow(model, ["busy"], () => (stop.disabled = !model.get("busy")));

  // The clipboard of the newer kind is refused to pages that are not served over https, so a field is selected.
  const field = element("textarea", { class: "lab-unseen", readonly: true, tabindex: -1, "aria-hidden": "true" });
  const copy = button("Copy text", () => {
    field.value = model.get("texts").map((text) => text.plain).join("\n\n");
    field.select();
    document.execCommand("copy");
    copy.focus();
  });

  const settings = controls(
    textField(model, "prompt", "prompt"),
    choice(model, "strategy", "strategy", { options: () => drawing().strategies ?? [model.get("strategy")] }),
    numberField(model, "seed", "seed", used("seed")),
    slider(model, "temperature", "temperature", { max: 2, step: 0.05, say: (t) => t.toFixed(2), ...used("temperature") }),
    slider(model, "top_k", "top-k", { max: 100, say: (k) => (k ? String(k) : "all"), ...used("top_k") }),
    slider(model, "top_p", "top-p", { min: 0.05, max: 1, step: 0.05, say: (p) => p.toFixed(2), ...used("top_p") }),
    slider(model, "min_p", "min-p", { max: 0.5, step: 0.01, say: (p) => p.toFixed(2), ...used("min_p") }),
    slider(model, "penalty", "repetition",
      { min: 1, max: 2, step: 0.05, say: (p) => p.toFixed(2), hint: "repetition penalty; 1 is none", ...used("penalty") }),
    slider(model, "length", "tokens", { min: 1, max: 500 }),
    slider(model, "beams", "beams", { min: 1, max: 16, ...used("beams") }),
    slider(model, "length_penalty", "length penalty",
      { min: -1, max: 3, step: 0.1, say: (p) => p.toFixed(1), hint: "above 0 favours long texts", ...used("length_penalty") }));

  // ---- the texts

  const texts = element("div", { class: "lab-texts" });
  const strip = (text) => {
    const chosen = model.get("voice") === text.voice ? Math.min(model.get("token"), text.tokens.length) : 0;
    const looked = drawing().looked?.voice === text.voice && chosen ? drawing().looked : null;
    const before = looked ? looked.prompt : text.prompt ? [text.prompt] : [];
    const look = (i) => {
      const place = i - before.length; // after the prompt
      const share = looked?.shares[i];
      const own = { class: "lab-written", style: share > 0 ? `--share: ${100 * Math.sqrt(share)}%` : "" };
      if (looked) {
        own.class += share > 0 ? " lab-looked" : " lab-given";
        own.title = share === undefined ? null : `${percent(share)} of the attention`;
      }
      if (place < 0) return looked ? own : { class: "lab-given" };
      const [, probability, details] = text.tokens[place];
      if (!looked) {
        own.style = surprise(probability);
        own.title = details || null;
      }
      if (text.by_hand.includes(place)) own.class += " lab-by-hand";
      if (place + 1 === chosen) own.class += " lab-chosen";
      own.onclick = () => {
        put(model, "voice", text.voice);
        put(model, "token", place + 1);
      };
      return own;
    };
    const heading = drawing().names?.length > 1 && element("h4", { class: "lab-heading" }, element("bdi", {}, text.name));
    return element("div", { class: "lab-strip" }, heading || null,
      tokens([...before, ...text.tokens.map(([name]) => name)], look));
  };
  follow(model, ["texts", "token", "voice", "drawing"], () => {
    texts.replaceChildren(...model.get("texts").filter((text) => text.prompt || text.tokens.length).map(strip));
  });

  // ---- the chosen token

  const text = () => model.get("texts").find((one) => one.voice === model.get("voice"));
  const length = () => text()?.tokens.length ?? 0;
  const voices = () => model.get("texts").filter((one) => one.tokens.length).map((one) => [one.voice, one.name]);
  const voice = choice(model, "voice", "written by", { options: voices, follows: ["texts"] });
  const token = slider(model, "token", "token",
    { max: length, say: (n) => (n ? `${Math.min(n, length())} of ${length()}` : "none"), follows: ["texts", "voice"] });
  const attention = choice(model, "attention", "attention",
    { options: () => drawing().heads ?? ["off"], when: () => drawing().heads?.length > 1,
      hint: "how much the model looked at each token when it chose this one" });
  const instead = element("div", { class: "lab-instead" });
  const said = element("div", { class: "lab-status", role: "status", dir: "auto" });
  follow(model, ["texts"], () => (voice.hidden = voices().length < 2));
  followDrawing(model, [], ({ chosen }) => {
    instead.replaceChildren(...(chosen?.others ?? []).map(([id, name, share]) =>
      element("button", { type: "button", class: "lab-take", style: `--share: ${percent(share)}`,
        onclick: () => write("choose", { voice: model.get("voice"), place: chosen.place, token: id }) },
        element("bdi", {}, name), element("span", {}, percent(share, 2)))));
    const who = chosen?.by_hand ? "you chose" : "the model chose";
    said.textContent = chosen
      ? `Token ${chosen.place + 1}: ${who} “${chosen.text}”, ${percent(chosen.probability, 2)}. Take another, and go on:`
      : length() ? "Choose a token, by a click or with the slider, to see what else it might have been." : "";
  });
  const choosing = element("div", { class: "lab-choosing" }, controls(voice, token, attention), said, instead);
  follow(model, ["texts"], () => (choosing.hidden = length() === 0));

  // ---- the next token: what the filters keep

  const next = element("div", { class: "lab-next-token" });
  followDrawing(model, [], (seen) => {
    next.replaceChildren(...seen.next.map((step) => {
      const heading = element("h4", { class: "lab-heading" }, `${step.heading}: `);
      if (step.problem) return element("div", {}, heading, element("div", { class: "lab-problem" }, step.problem));
      const told = `${step.kept.toLocaleString("en")} of ${counted(step.of, "token")} kept: ` +
        `${percent(step.mass)} of the probability; removed: ${percent(1 - step.mass)}`;
      heading.append(element("span", { class: "lab-note" }, told));
      const longest = Math.max(...step.rows.flatMap(([, own, then]) => [own, then]));
      const bar = (share, look) => element("div", { class: look, style: `width: ${percent(share / longest)}` });
      const rows = step.rows.map(([name, own, then]) => element("tr", {},
        element("th", { scope: "row" }, element("bdi", {}, name)),
        element("td", { class: "lab-bars" }, bar(own, "lab-own"), bar(then, "lab-then")),
        element("td", {}, `${percent(own)} → ${then ? percent(then) : "removed"}`)));
      const mass = element("div", { class: "lab-mass", role: "img", "aria-label": told },
        element("div", { style: `width: ${percent(step.mass)}` }));
      return element("div", {}, heading, mass, element("table", {}, element("tbody", {}, ...rows)));
    }));
  });
  const key = note("The long bar: what is kept, and hatched what the filters remove. Below it ");
  key.append(element("span", { class: "lab-key lab-own" }), " the model's own probability, ",
    element("span", { class: "lab-key lab-then" }), " what is drawn from.");

  // ---- sessions

  const saved = element("span", { class: "lab-status", role: "status" });
  const session = async (what) => {
    saved.textContent = "";
    const answer = await ask(model, what);
    if (!model.get("problem")) saved.textContent = answer ? `saved as ${answer}` : "loaded";
  };
  const files = element("div", { class: "lab-buttons" }, textField(model, "path", "session"),
    button("Save", () => session("save_as_named")), button("Load", () => session("load")), saved);

  const about = status(model, ["texts", "busy"], () => {
    const written = model.get("texts").map((one) => one.tokens.length).reduce((a, b) => a + b, 0);
    return model.get("busy") ? "writing" : written ? `${counted(written, "token")} written` : "";
  });
  const meaning = element("div", { class: "lab-note" });
  follow(model, ["drawing", "texts"], () => {
    meaning.hidden = !model.get("texts").some((one) => one.tokens.length);
    meaning.replaceChildren(...(drawing().looked
      ? [element("span", { class: "lab-key lab-most" }), " The bluer, the more the model looked at it when it chose the framed token."]
      : surpriseKey()));
  });
  panel(el, model, "Sampler",
    ticks(model, "models", "models", { options: () => drawing().names ?? [] }),
    settings,
    ticks(model, "filters", "filters", { options: () => drawing().filters ?? [], follows: ["strategy"], ...used("filters") }),
    element("div", { class: "lab-buttons" }, generate, stop, goOn, copy, about),
    texts, meaning, choosing, next, key, files, field);
  followDrawing(model, [], ({ names, filters }) => {
    for (const [name, all, least] of [["models", names, 1], ["filters", filters, 0]])
      for (const box of el.querySelectorAll(`fieldset.lab-${name}`)) box.hidden = all.length <= least;
  });
  if (model.get("busy")) write("more"); // a page that was opened anew goes on with what was being written
}

export default { render };
