import { choice, controls, element, followDrawing, panel, slider, status } from "./base.js";
import { chart } from "./chart.js";

const short = (number) => String(Number(number.toPrecision(3)));
const time = (seconds) => (seconds < 1 ? `${short(1e3 * seconds)} ms` : `${short(seconds)} s`);
const AXES = { x: { title: "batch size, rows", log: true }, y: { title: "milliseconds a step", log: true } };

function render({ model, el }) {
  const names = ["batch", "width", "context"];
  const drawing = () => model.get("drawing");
  const values = (name) => drawing().sizes[name];
  const chosen = () => names.map((name) => model.get(name));
  const device = () => drawing().devices.find(({ key }) => key === model.get("device"));
  // What the law says at the chosen width and context, a prediction for each batch size.
  const law = () => {
    const [width, context] = ["width", "context"].map((name) => values(name).indexOf(model.get(name)));
    return device().law[width][context];
  };
  const here = () => law()[values("batch").indexOf(model.get("batch"))];
  const nearest = () => device().rows[here()[3]];

  // A measured row is batch, width, context, then seconds.
  const dot = (row) => [row[0], 1e3 * row[3], `${names.map((name, i) => `${name} ${row[i]}`).join(", ")}: ${time(row[3])}`];
  const view = element("div", { class: "lab-view" });
  followDrawing(model, ["device", ...names], () => {
    const [batch, width, context] = chosen();
    const same = device().rows.filter((row) => row[1] === width && row[2] === context);
    const over = (make) => law().map((said, i) => [values("batch")[i], ...make(said)]);
    const title = `${device().name}: width ${width}, context ${context}`;
    view.replaceChildren(element("div", { class: "lab-heading" }, element("bdi", {}, title)), chart(title, AXES, [
      { name: "95% interval of the law", look: "0", band: over(([, low, high]) => [1e3 * low, 1e3 * high]) },
      { name: "predicted", look: "0", line: over(([seconds]) => [1e3 * seconds]) },
      { name: same.length ? "measured" : "measured: none at this width and context", look: "ink", shape: "circle", marks: same.map(dot) },
      { name: "nearest measured", look: "quiet", shape: "ring", hollow: true, marks: [dot(nearest())] },
      { name: "chosen here", look: "5", shape: "star", marks: [[batch, 1e3 * here()[0]]] },
    ]));
  });

  const said = status(model, ["device", ...names], () => {
    const [seconds, low, high] = here(), [, , , found, first, third, there] = nearest();
    const rate = (model.get("batch") / seconds).toLocaleString("en", { maximumFractionDigits: 0 });
    const where = names.map((name, i) => `${name} ${nearest()[i]}`).join(", ");
    const beyond = names.map((name, i) => [name, chosen()[i], ...device().measured[i]])
      .filter(([, size, least, most]) => size < least || size > most)
      .map(([name, size, least, most]) => `${name} ${size} (measured: ${least} to ${most})`);
    return [
      `Predicted: ${time(seconds)} a step (${time(low)} to ${time(high)}), ${rate} rows a second.`,
      `Nearest measured, ${where}: ${time(found)} (${time(first)} to ${time(third)}). The law says ${time(there)} there.`,
      beyond.length ? `Nothing was measured out here, the law only goes on in a line: ${beyond.join("; ")}.` : "",
    ].join("\n").trim();
  });

  panel(el, model, "Step time explorer",
    controls(
      choice(model, "device", "device", { options: () => (drawing().devices ?? []).map(({ key, name }) => [key, name]) }),
      ...names.map((name) => slider(model, name, name === "batch" ? "batch size" : name, { values: () => values(name) }))),
    view, said);
}

export default { render };
