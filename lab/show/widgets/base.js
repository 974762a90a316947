// What every widget's JavaScript is made of; `base.py` says how a widget is built from it.
//
// Nothing here is fetched, and no text is ever taken for markup: elements are made one by one, and strings become
// text nodes. `model` is anywidget's, or any object with get, set, save_changes and on("change:name", fn).

// ---- elements

// An element: attributes by name, functions for its events by "onclick" and the like, and children, strings or
// elements. Attributes that are null or false are left out.
export function element(tag, attributes = {}, ...children) {
  const space = SVG_TAGS.has(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const made = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (name === "style") made.style.cssText = value; // which a strict page allows, unlike the attribute
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG_TAGS = new Set(["svg", "g", "path", "rect", "circle", "line", "polyline", "text", "title", "tspan"]);

// The class by which styles and tests find what shows `name`: "top_p" is "lab-top-p".
export function className(name) {
  return `lab-${name.replaceAll("_", "-").toLowerCase()}`;
}

// ---- state

// Call `draw` now, and whenever one of these traits changes.
export function follow(model, names, draw) {
  for (const name of names) model.on(`change:${name}`, draw);
  draw();
}

// The same, but only while there is a drawing, which `show` gets: a widget may begin with what cannot be drawn.
export function followDrawing(model, names, show) {
  follow(model, ["drawing", ...names], () => {
    const drawing = model.get("drawing");
    if (Object.keys(drawing).length) show(drawing);
  });
}

const WAIT = 120; // milliseconds: a slider that is dragged asks Python once
const waiting = new WeakMap();

// Put a value into the model, and send it to Python when the hand has been still for a moment.
export function put(model, name, value) {
  model.set(name, value);
  clearTimeout(waiting.get(model));
  waiting.set(model, setTimeout(() => model.save_changes(), WAIT));
}

let asked = 0;
const page = Math.random().toString(36).slice(2); // so that two pages on one kernel ask apart

// Ask Python; resolves to its answer, or to null where it refused, and then the problem line says why.
export function ask(model, name, values = {}) {
  const id = `${page}-${++asked}`;
  const answered = model.get("answers");
  const open = model.get("questions").filter((one) => !(one.id in answered));
  clearTimeout(waiting.get(model)); // what was typed travels with the question
  return new Promise((resolve) => {
    const hear = () => {
      if (!(id in model.get("answers"))) return;
      model.off?.("change:answers", hear);
      resolve(model.get("answers")[id][0]);
    };
    model.on("change:answers", hear);
    model.set("questions", [...open, { id, name, values }]);
    model.save_changes();
  });
}

// ---- controls: each shows one trait, and follows it when Python changes it

// Options of all: `when` is a function that says whether the control has any effect now, `hint` is said on pointing;
// `follows` names the traits on which `when`, `min`, `max` and `options` depend (each may be a function).
function control(model, name, label, input, options, show) {
  const said = element("span", { class: "lab-label" }, label);
  const row = element("label", { class: `lab-control ${className(name)}`, title: options.hint }, said, input);
  follow(model, [name, "drawing", ...(options.follows ?? [])], () => {
    input.disabled = options.when ? !options.when() : false;
    row.classList.toggle("lab-off", input.disabled);
    show(model.get(name));
  });
  return row;
}

const now = (value) => (typeof value === "function" ? value() : value);

// With `values` it moves along a list of them.
export function slider(model, name, label, options = {}) {
  const { values = null, step = 1, say = (value) => String(value) } = options;
  const { min = 0, max = values ? () => now(values).length - 1 : 100 } = options;
  const input = element("input", { type: "range", step });
  const reading = element("output", { class: "lab-reading" });
  input.addEventListener("input", () => put(model, name, values ? now(values)[input.value] : Number(input.value)));
  const row = control(model, name, label, input, options, (value) => {
    [input.min, input.max] = [now(min), now(max)];
    input.value = values ? now(values).indexOf(value) : value;
    input.setAttribute("aria-valuetext", say(value));
    reading.textContent = say(value);
  });
  row.append(reading);
  return row;
}

export function numberField(model, name, label, options = {}) {
  const input = element("input", { type: "number", step: options.step ?? 1, min: options.min, max: options.max });
  input.addEventListener("input", () => {
    if (input.value !== "" && input.checkValidity()) put(model, name, Number(input.value));
  });
  return control(model, name, label, input, options, (value) => {
    if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
  });
}

// One line, or several where `rows` is given. `dir="auto"` lets the text say from which side it is read.
export function textField(model, name, label, options = {}) {
  const look = { dir: "auto", spellcheck: "false", autocomplete: "off" };
  const input = options.rows
    ? element("textarea", { ...look, rows: options.rows })
    : element("input", { ...look, type: "text" });
  input.addEventListener("input", () => put(model, name, input.value));
  const row = control(model, name, label, input, options, (value) => {
    if (input.value !== value) input.value = value;
  });
  row.classList.add("lab-wide");
  return row;
}

export function tick(model, name, label, options = {}) {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => put(model, name, input.checked));
  const row = control(model, name, label, input, options, (value) => (input.checked = value));
  row.classList.add("lab-tick");
  return row;
}

// A list to choose one from. `options.options` are values, or pairs of a value and its label.
export function choice(model, name, label, options = {}) {
  const select = element("select");
  let values = [];
  select.addEventListener("change", () => put(model, name, values[select.selectedIndex]));
  return control(model, name, label, select, options, (value) => {
    const pairs = now(options.options).map((one) => (Array.isArray(one) ? one : [one, one]));
    values = pairs.map(([held]) => held);
    const labels = pairs.map(([, text]) => String(text));
    if (labels.join("\0") !== [...select.options].map((one) => one.textContent).join("\0"))
      select.replaceChildren(...labels.map((text) => element("option", {}, text)));
    select.selectedIndex = values.indexOf(value);
  });
}

// Ticks to choose several of, such as the names of models.
export function ticks(model, name, label, options) {
  const box = element("fieldset", { class: `lab-ticks ${className(name)}` });
  followDrawing(model, [name, ...(options.follows ?? [])], () => {
    const all = now(options.options), held = model.get(name);
    box.disabled = options.when ? !options.when() : false;
    if (box.childElementCount !== all.length + 1)
      box.replaceChildren(element("legend", { class: "lab-label" }, label), ...all.map((one) => {
        const input = element("input", { type: "checkbox", value: one });
        input.addEventListener("change", () => {
          const rest = model.get(name).filter((other) => other !== one);
          put(model, name, input.checked ? all.filter((other) => other === one || rest.includes(other)) : rest);
        });
        return element("label", { class: "lab-control lab-tick" }, element("span", { class: "lab-label" }, one), input);
      }));
    for (const input of box.querySelectorAll("input")) input.checked = held.includes(input.value);
  });
  return box;
}

export function button(label, action, attributes = {}) {
  const named = className(label.split(" ")[0]);
  return element("button", { type: "button", onclick: action, ...attributes, class: `${named} ${attributes.class ?? ""}` }, label);
}

// A row, or rows of so many columns, of buttons that Tab reaches as one, and in which arrows go from one to the next.
export function inRows(attributes, buttons, columns = buttons.length) {
  const reach = (at) => buttons.forEach((one, i) => (one.tabIndex = i === at ? 0 : -1));
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const move = (event) => {
    const to = buttons.indexOf(event.target) + (steps[event.key] ?? NaN);
    if (!buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
  };
  reach(0);
  const onfocusin = (event) => reach(buttons.indexOf(event.target));
  return element("div", { role: "group", onkeydown: move, onfocusin, ...attributes }, ...buttons);
}

// A button that moves `name` on to `max()`, one a tick, and starts again where it had come to the end.
export function player(model, name, max, milliseconds = 400) {
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    made.textContent = "Play";
  };
  const move = () => {
    if (model.get(name) >= max() || !made.isConnected) return stop();
    put(model, name, model.get(name) + 1);
  };
  const made = button("Play", () => {
    if (timer !== null) return stop();
    if (model.get(name) >= max()) put(model, name, 0);
    timer = setInterval(move, milliseconds);
    made.textContent = "Pause";
  });
  return made;
}

// ---- what is seen

// Controls beside each other, as many as there is room for.
export function controls(...rows) {
  return element("div", { class: "lab-controls" }, ...rows);
}

// What holds of the picture whatever it shows.
export function note(text) {
  return element("div", { class: "lab-note" }, text);
}

// A sentence about what is seen, made of the drawing; a screen reader says it when it changes.
export function status(model, names, say) {
  const line = element("div", { class: "lab-status", role: "status", "aria-live": "polite", dir: "auto" });
  followDrawing(model, names, (drawing) => {
    const said = say(drawing);
    if (line.textContent !== said) line.textContent = said;
  });
  return line;
}

// "1 token", "1,200 tokens".
export function counted(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

const MOST_TOKENS = 3000; // more in one picture is slow to draw, and nobody reads them

// Tokens as text, in colours that change from one to the next so that their boundaries show; `look` gives the
// attributes of each. With `below`, each token stands in a slot of its own, over what `below` says of it.
export function tokens(texts, look = (place) => ({ class: tint(place) }), below = null) {
  const shown = texts.slice(0, MOST_TOKENS).map((text, place) => {
    const own = look(place);
    if (!below) return element("span", { ...own, class: `lab-token ${own.class}` }, element("bdi", {}, text));
    return slot([text.replaceAll("\n", ""), below(place)], own);
  });
  const left = texts.length - shown.length;
  if (left > 0) shown.push(` … and ${counted(left, "token")} more`);
  return element("div", { class: below ? "lab-slots" : "lab-tokens", dir: "auto" }, ...shown);
}

// A column of short texts, for a row of them that goes on below where there is no more room.
export function slot(texts, look = {}) {
  return element("span", { ...look, class: `lab-slot ${look.class}` }, ...texts.map((text) => element("bdi", {}, text)));
}

const MOST_BITS = 8; // a token with less than one chance in 256 is as orange as it gets

// The look of a token that had this probability: from blue, expected, to orange, a surprise.
export function surprise(probability) {
  const bits = probability > 0 ? Math.min(MOST_BITS, -Math.log2(probability)) : MOST_BITS;
  return `--bits: ${(100 * bits) / MOST_BITS}%`;
}

// What those colours mean.
export function surpriseKey() {
  const key = (look) => element("span", { class: `lab-key lab-${look}` });
  return [key("expected"), " Blue: the model expected it. ", key("surprise"), " Orange: a surprise."];
}

export function tint(place) {
  return `lab-tint-${place % 6}`;
}

// The widget itself: its parts in a column under the line that says what is wrong, which is there when something is.
export function panel(el, model, title, ...parts) {
  const problem = element("div", { class: "lab-problem", role: "alert", dir: "auto" });
  follow(model, ["problem"], () => {
    problem.textContent = model.get("problem");
    problem.hidden = !model.get("problem");
  });
  const named = className(title.replaceAll(" ", "-"));
  // Keys pressed in the widget are the widget's: a notebook would take "b" for a new cell and an arrow for a move. It
  // looks for this mark on what has the focus first, and only then on what is around it.
  const own = {
    onfocusin: ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"),
    onkeydown: (event) => event.stopPropagation(),
  };
  const root = element("section", { class: `lab-widget ${named}`, "aria-label": title, ...own }, problem, ...parts);
  el.replaceChildren(root);
  return root;
}
