// What /metrics tells, as it was over the last minutes.

import { ask, isAbort } from "./api.js";
import { draw, find, make, rounded, showProblem } from "./dom.js";

/** Milliseconds between two looks, and how many of them are drawn. */
const PERIOD = 2000;
const SAMPLES = 90;
/** A chart's size in its own units. */
const [WIDTH, HEIGHT] = [300, 80];

/** Samples of Prometheus' text format: `{name, labels, value}`. */
export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (name === undefined) continue;
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, unescape(text)]);
    samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value.replace("Inf", "Infinity")) });
  }
  return samples.filter(({ name }) => name.startsWith("minivault_"));
}

const unescape = (text) => text.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter));

/** The sum of a metric for each value of a label. */
function sums(samples, metric, label, among = () => true) {
  const found = new Map();
  for (const { name, labels, value } of samples) {
    if (name !== metric || !among(labels)) continue;
    const of = labels[label] ?? "";
    found.set(of, (found.get(of) ?? 0) + value);
  }
  return found;
}

/** How much more for each label there is than a look ago. */
function more(now, before, metric, label, among) {
  const old = sums(before, metric, label, among);
  // What wasn't there before has grown from nothing; what shrank was begun anew.
  return new Map([...sums(now, metric, label, among)].map(([of, value]) => [of, Math.max(0, value - (old.get(of) ?? 0))]));
}

const rate = (metric, label, among) => (now, before, seconds) =>
  new Map([...more(now, before, metric, label, among)].map(([of, value]) => [of, value / seconds]));

/** The mean of what came since the last look; nothing where nothing came. */
const mean = (metric) => (now, before) => {
  const counts = more(now, before, `${metric}_count`, "engine");
  const means = [...more(now, before, `${metric}_sum`, "engine")].map(([of, sum]) => [of, counts.get(of) ? (sum / counts.get(of)) * 1000 : null]);
  return new Map(means);
};

const CHARTS = [
  { title: "Tokens generated", unit: "a second", read: rate("minivault_generated_tokens_total", "engine") },
  { title: "Answers ended", unit: "a second", read: rate("minivault_answers_total", "engine") },
  {
    title: "Requests now",
    unit: "",
    read: (now) => new Map([["running", "minivault_requests_running"], ["waiting", "minivault_requests_waiting"]].map(([word, metric]) =>
      [word, [...sums(now, metric, "engine").values()].reduce((sum, value) => sum + value, 0)])),
  },
  { title: "Time to first token", unit: "ms", read: mean("minivault_time_to_first_token_seconds") },
  { title: "Time from token to token", unit: "ms", read: mean("minivault_time_per_output_token_seconds") },
  { title: "Refused or failed", unit: "a second", read: rate("minivault_http_requests_total", "status", ({ status }) => status >= 400) },
  { title: "Memory", unit: "MiB", read: (now) => new Map([...sums(now, "minivault_resident_memory_bytes", "")].map(([, bytes]) => ["daemon", bytes / 2 ** 20])) },
];

/** What each chart has read so far: a map of values by label for each look. */
const history = CHARTS.map(() => []);
let before = null;
let timer;
let watching = false;

/** Looks again and again while somebody watches. */
export function watch(wanted) {
  if (wanted === watching) return;
  watching = wanted;
  clearTimeout(timer);
  if (watching) look();
}

async function look() {
  const problem = find("#view-metrics > .problem");
  try {
    const samples = parse(await (await ask("metrics", { quiet: true })).text());
    const at = performance.now();
    // Numbers of long ago would make a rate of now.
    if (before && at - before.at < 3 * PERIOD) CHARTS.forEach(({ read }, index) => {
      history[index].push(read(samples, before.samples, (at - before.at) / 1000));
      history[index].splice(0, history[index].length - SAMPLES);
    });
    before = { samples, at };
    showProblem(problem, null);
    find("#charts").replaceChildren(...CHARTS.map(chart));
    showNumbers(samples);
  } catch (error) {
    if (!isAbort(error)) showProblem(problem, error);
  }
  if (watching) timer = setTimeout(look, PERIOD);
}

function chart({ title, unit }, index) {
  const looks = history[index];
  // By name, so that an engine has one colour in all charts.
  const names = [...new Set(looks.flatMap((look) => [...look.keys()]))].sort();
  const top = Math.max(...looks.flatMap((look) => [...look.values()]), 0) || 1;
  const last = (name) => looks.map((look) => look.get(name)).findLast((value) => value !== null && value !== undefined);
  const told = names.map((name) => `${name} ${rounded(last(name) ?? NaN)}`);
  const lines = names.flatMap((name, place) => segments(looks.map((look) => look.get(name)), top).map((points) =>
    draw("polyline", { points, class: `series s${place % 6}` })));
  return make("figure", { class: "chart" },
    make("figcaption", {}, make("strong", {}, title), unit ? `, ${unit}` : ""),
    draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none", "aria-label": `${title}: ${told.join(", ") || "nothing yet"}` }, ...lines),
    make("p", { class: "scale" }, `up to ${rounded(top)}`),
    make("ul", { class: "legend" }, ...names.map((name, place) => make("li", { class: `s${place % 6}` }, told[place]))));
}

/** Lines through the values, broken where there are none. The newest one is on the right. */
function segments(values, top) {
  const found = [[]];
  values.forEach((value, index) => {
    if (value === null || value === undefined) found.push([]);
    else {
      const x = WIDTH - ((values.length - 1 - index) * WIDTH) / (SAMPLES - 1);
      found.at(-1).push(`${x.toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 6)).toFixed(1)}`);
    }
  });
  // A single value is a short dash.
  return found.filter((points) => points.length).map((points) => (points.length > 1 ? points : [points[0], points[0].replace(/^[\d.]+/, (x) => Number(x) - 3)]).join(" "));
}

function showNumbers(samples) {
  const rows = samples.filter(({ name }) => !name.endsWith("_bucket")).map(({ name, labels, value }) =>
    make("tr", {},
      make("th", { scope: "row" }, name.replace(/^minivault_/, "")),
      make("td", {}, Object.entries(labels).map(([label, of]) => `${label} ${of}`).join(", ")),
      make("td", { class: "number" }, String(value))));
  find("#numbers").replaceChildren(...rows);
}
