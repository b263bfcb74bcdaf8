// The settings that prompts, chats and comparisons share.

import { askJson } from "./api.js";
import { find, findAll, make } from "./dom.js";

const STORED = "minivault-settings";
const WHOLE = ["max_tokens", "top_k"];
const FRACTIONS = ["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"];
// What /stream-generate doesn't take; these go to /v1/completions.
const ONLY_V1 = ["presence_penalty", "frequency_penalty", "logit_bias", "ignore_eos"];

/** What the daemon takes where nothing is said, until it has told its own. */
const configured = { max_tokens: 100, temperature: 1, top_k: 50, top_p: 0.95, min_p: 0, repetition_penalty: 1.1 };

/** The engines as `/v1/models` told them. */
let engines = [];

export const form = () => find("#settings-form");
export const engineOf = (name) => engines.find((engine) => engine.id === name);

/** Wrong in a field, told before anything is sent. */
export class FieldError extends Error {}

/** What is set: fields of a body without `model` and `seed`, which is text. */
export function chosen() {
  const fields = {};
  for (const name of [...WHOLE, ...FRACTIONS]) {
    const text = find(`#${name}`).value.trim();
    if (!text) continue;
    const value = Number(text.replace(",", "."));
    if (!Number.isFinite(value)) throw new FieldError(`${labelOf(name)} is “${text}”; it must be a number`);
    fields[name] = value;
  }
  const seed = find("#seed").value.trim();
  if (seed && !/^\d+$/.test(seed)) throw new FieldError(`Seed is “${seed}”; it must be a whole number, 0 or more`);
  const stop = find("#stop").value.split("\n").filter(Boolean);
  if (stop.length) fields.stop = stop.map(unescape);
  const biases = biasesOf(find("#logit_bias").value);
  if (biases) fields.logit_bias = biases;
  for (const name of ["ignore_eos", "deterministic"]) {
    if (find(`#${name}`).checked) fields[name] = true;
  }
  return { fields, seed, tokens: find("#show-tokens").checked, needsV1: ONLY_V1.some((name) => name in fields) };
}

/** The same for `/v1`, where what is left out would be OpenAI's default and not the daemon's. `max_tokens` is left as it is. */
export function inFull(fields) {
  const { max_tokens: _, ...rest } = configured;
  return { ...rest, ...fields };
}

/** Tokens of an answer to a prompt where nothing is said. */
export const usualTokens = () => configured.max_tokens;

const labelOf = (name) => find(`label[for="${name}"]`).textContent;
const unescape = (text) => text.replace(/\\([nt\\])/g, (_, letter) => ({ n: "\n", t: "\t", "\\": "\\" })[letter]);
const escape = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");

function biasesOf(text) {
  const biases = {};
  for (const part of text.split(",").map((part) => part.trim()).filter(Boolean)) {
    const [, token, bias] = /^(\d+)\s*[:=]\s*(-?\d+(?:\.\d+)?)$/.exec(part) ?? [];
    if (token === undefined) throw new FieldError(`Biases of tokens hold “${part}”; each is a token's number, a colon and what is added`);
    biases[token] = Number(bias);
  }
  return Object.keys(biases).length ? biases : null;
}

/** Takes over the settings of a logged request. */
export function take(record) {
  const request = record.request ?? {}; // What isn't recorded leaves the fields empty.
  form().reset();
  for (const name of [...WHOLE, ...FRACTIONS]) find(`#${name}`).value = request[name] ?? "";
  find("#seed").value = record.seed ?? "";
  find("#stop").value = (request.stop ?? []).map(escape).join("\n");
  // As the log has them: pairs of a token and its bias.
  find("#logit_bias").value = (request.logit_bias ?? []).map((bias) => Object.values(bias).join(": ")).join(", ");
  find("#ignore_eos").checked = Boolean(request.ignore_eos);
  find("#deterministic").checked = Boolean(request.deterministic);
  if (engineOf(record.model)) find("#engine").value = record.model;
  tellEngine();
  store();
}

/** Asks which engines there are, and puts them into every choice of one. */
export async function refreshEngines() {
  engines = (await askJson("v1/models")).data;
  for (const select of findAll("select[data-engines]")) {
    const before = select.value || select.dataset.wanted;
    select.replaceChildren(
      ...engines.map(({ id, minivault }) => make("option", { value: id }, minivault?.default ? `${id} (default)` : id)),
    );
    if (engineOf(before)) select.value = before;
    else if (select.id === "compare-b" && engines.length > 1) select.value = engines[1].id;
  }
  find("#engine-names").replaceChildren(...engines.map(({ id }) => make("option", { value: id })));
  tellEngine();
  // To ask for the defaults of an engine that isn't there would load it.
  if (engines.some(({ minivault }) => minivault?.default && minivault.state === "ready")) await refreshDefaults();
}

async function refreshDefaults() {
  const { params } = (await askJson("props")).default_generation_settings;
  const told = { ...params, max_tokens: params.n_predict, repetition_penalty: params.repeat_penalty };
  for (const name of Object.keys(configured)) {
    // 32-bit numbers, written with more digits than they have.
    if (typeof told[name] === "number") configured[name] = Number(told[name].toPrecision(6));
  }
  showDefaults();
}

function showDefaults() {
  for (const name of [...WHOLE, ...FRACTIONS]) {
    if (name in configured) find(`#${name}`).placeholder = String(configured[name]);
  }
  find("#max_tokens").placeholder += "; in chats the room left";
}

function tellEngine() {
  const engine = engineOf(find("#engine").value);
  const told = engine?.minivault;
  const words = [];
  if (told) {
    words.push(told.state === "idle" ? "loads when it is first asked" : told.state, told.backend);
    if (told.loaded) {
      const { model, context_length: context, determinism } = told.loaded;
      words.push(model, context ? `${context} tokens of context` : "", determinism);
    }
    if (told.answered_by) words.push(`${told.answered_by} answers in its place`);
    if (told.reason) words.push(told.reason);
  }
  find("#engine-told").textContent = words.filter(Boolean).join(" · ");
}

function store() {
  const values = {};
  for (const field of form().elements) {
    if (field.id) values[field.id] = field.type === "checkbox" ? field.checked : field.value;
  }
  sessionStorage.setItem(STORED, JSON.stringify(values));
}

/** Fills the form as it was left in this tab, and remembers what changes. */
export function begin() {
  showDefaults();
  try {
    for (const [id, value] of Object.entries(JSON.parse(sessionStorage.getItem(STORED)) ?? {})) {
      const field = form().elements[id];
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value;
      else if (field.tagName === "SELECT") field.dataset.wanted = value;
      else field.value = value;
    }
  } catch {
    sessionStorage.removeItem(STORED);
  }
  form().addEventListener("input", () => {
    tellEngine();
    store();
  });
  form().addEventListener("submit", (event) => event.preventDefault());
  form().addEventListener("reset", () => setTimeout(() => (tellEngine(), store())));
  // On a small screen they would stand between a person and the answer.
  if (matchMedia("(max-width: 60rem)").matches) find("#settings details").open = false;
}
