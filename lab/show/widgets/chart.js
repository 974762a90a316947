import { element } from "./base.js";

// Curves over two axes, for widgets that draw them. All widths are shares of the page's, so a chart needs no measuring.
//
// A series is `{ name, look, line: [[x, y], ...], band: [[x, low, high], ...], marks: [[x, y, said, size], ...], hollow }`,
// each part where there is one. `look` is a number, for one of a row of colours, dashes and shapes, in which neighbours
// differ not by colour alone; or a colour's name in the style sheet, and then `shape` is that of its marks.

const HIGH = 260; // pixels; what stands around the plot has its room from the style sheet
const SHAPES = {
  circle: "M-5,0a5,5 0 1 0 10,0a5,5 0 1 0 -10,0", square: "M-4.5,-4.5h9v9h-9z", triangle: "M0,-6L6,5H-6z",
  diamond: "M0,-6.5L6.5,0L0,6.5L-6.5,0z", wedge: "M0,6L6,-5H-6z",
  star: "M0,-9L2.2,-3H8.6L3.5,.9L5.3,7.3L0,3.5L-5.3,7.3L-3.5,.9L-8.6,-3H-2.2z",
  ring: "M-8,0a8,8 0 1 0 16,0a8,8 0 1 0 -16,0",
};
const DASHES = [null, "7 3", "2 2", "8 3 2 3", "4 2"], IN_TURN = ["circle", "square", "triangle", "diamond", "wedge"];

// `axes` are `{ x: { title, log }, y: { title, log } }`; `label` says to a screen reader what is drawn.
export function chart(label, axes, series) {
  const shown = series.map(styled);
  const all = shown.flatMap(({ line, marks }) => [...line, ...marks]);
  const x = scale(axes.x.log, all.map(([value]) => value)), y = scale(axes.y.log, all.map(([, value]) => value));
  const left = (value) => `${100 * x.at(value)}%`, top = (value) => `${100 - 100 * y.at(value)}%`;

  const ticks = [
    ...x.ticks.flatMap((value) => [
      element("line", { x1: left(value), x2: left(value), y1: 0, y2: HIGH }),
      element("text", { x: left(value), y: HIGH + 18, "text-anchor": "middle" }, number(value))]),
    ...y.ticks.flatMap((value) => [
      element("line", { x1: 0, x2: "100%", y1: top(value), y2: top(value) }),
      element("text", { x: -8, y: top(value), dy: "0.35em", "text-anchor": "end" }, number(value))]),
    element("text", { x: "50%", y: HIGH + 38, "text-anchor": "middle" }, axes.x.title),
  ];
  // Curves are stretched to the width of the page, but their strokes are not.
  const place = ([a, b]) => `${(1000 * x.at(a)).toFixed(1)},${(1000 - 1000 * y.at(b)).toFixed(1)}`;
  const path = (points) => (points.length ? `M${points.map(place).join("L")}` : "");
  const curves = shown.flatMap(({ band, line, look, dash }) => [
    band.length && element("path", { class: `${look} lab-band`,
      d: `${path([...band.map(([a, , most]) => [a, most]), ...band.map(([a, least]) => [a, least]).reverse()])}Z` }),
    line.length && element("path", { class: `${look} lab-curve`, d: path(line), "stroke-dasharray": dash }),
  ]);
  const stretched = { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", width: "100%", height: HIGH };
  const marks = shown.flatMap((one) => one.marks.map(([a, b, said, size]) =>
    element("svg", { x: left(a), y: top(b), overflow: "visible" }, mark(one, said, size))));
  const picture = element("svg", { class: "lab-plot", role: "img", "aria-label": label, height: HIGH },
    element("g", { class: "lab-axes" }, ...ticks), element("svg", stretched, ...curves.filter(Boolean)), ...marks);
  return element("div", { class: "lab-chart" }, element("div", { class: "lab-note" }, axes.y.title),
    picture, element("ul", { class: "lab-keys" }, ...shown.map(key)));
}

function styled(one) {
  const { look, line = [], band = [], marks = [] } = one;
  if (typeof look !== "number") return { ...one, line, band, marks, look: `lab-look-${look}`, dash: null };
  const shape = IN_TURN[look % IN_TURN.length], dash = DASHES[look % DASHES.length];
  return { ...one, line, band, marks, look: `lab-look-${look % 6}`, shape, dash };
}

function mark({ look, shape, hollow }, said = null, size = 1) {
  const tip = said && element("title", {}, said), way = { d: SHAPES[shape], transform: `scale(${size})` };
  return element("path", { class: `${look} ${hollow ? "lab-hollow" : "lab-mark"}`, ...way }, tip);
}

// What a series is called, beside a piece of it.
function key(one) {
  const across = { class: `${one.look} lab-curve`, d: "M1,9H33", "stroke-dasharray": one.dash };
  const parts = [
    one.band.length && element("rect", { class: `${one.look} lab-band`, x: 1, y: 2, width: 32, height: 14 }),
    one.line.length && element("path", across),
    one.shape && element("svg", { x: 17, y: 9, overflow: "visible" }, mark(one)),
  ];
  const sign = element("svg", { width: 34, height: 18, "aria-hidden": "true" }, ...parts.filter(Boolean));
  return element("li", {}, sign, element("bdi", {}, one.name));
}

// From values to shares of an axis, with a little room at both ends, and where it is marked.
function scale(log, values) {
  const found = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  const own = log ? Math.log10 : (value) => value;
  let low = own(Math.min(...found)), high = own(Math.max(...found));
  if (!(high > low)) [low, high] = found.length ? [low - 0.5, low + 0.5] : [0, 1];
  [low, high] = [low - 0.04 * (high - low), high + 0.04 * (high - low)];
  const at = (value) => Math.max(-1, Math.min(2, (own(Math.max(value, log ? 1e-300 : -Infinity)) - low) / (high - low)));
  return { at, ticks: log ? powers(10 ** low, 10 ** high) : even(low, high) };
}

function even(low, high) {
  const step = (high - low) / 5, power = 10 ** Math.floor(Math.log10(step));
  const rounded = power * [1, 2, 5, 10].find((times) => times * power >= step);
  const first = Math.ceil(low / rounded), count = Math.floor(high / rounded) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * rounded);
}

function powers(low, high) {
  const first = Math.floor(Math.log10(low)), between = high < 3000 * low ? [1, 2, 5] : [1];
  const all = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, i) => 10 ** (first + i));
  const ticks = all.flatMap((power) => between.map((times) => times * power));
  const inside = ticks.filter((value) => low <= value && value <= high);
  return inside.length > 2 ? inside : even(low, high);
}

// 0.5, 20, 1K, 1.5M.
function number(value) {
  return value.toLocaleString("en", { notation: value >= 1e3 ? "compact" : "standard", maximumSignificantDigits: 3 });
}
