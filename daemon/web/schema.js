// A schema of /openapi.json, told to people: what a value is, what it consists of, and an example of one.

import { make } from "./dom.js";

/** What a `$ref` means; anything else is itself. */
export function resolve(document, value) {
  if (!value?.$ref) return value ?? {};
  const steps = value.$ref.slice(2).split("/");
  return steps.reduce((at, step) => at?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], document) ?? {};
}

const nameOf = (value) => value.$ref?.split("/").pop();

/** The cases of a value that is one of several; `null` among them. */
const casesOf = (schema) => schema.oneOf ?? schema.anyOf ?? schema.allOf;

/** In a few words: `text or null`, `list of Message`. */
export function typeOf(schema) {
  if (schema === true || schema === undefined) return "anything";
  if (schema.$ref) return nameOf(schema);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const cases = casesOf(schema);
  if (schema.allOf) return [...new Set(cases.map(typeOf))].join(" with ");
  if (cases) return [...new Set(cases.map(typeOf))].join(" or ");
  const types = [schema.type ?? "anything"].flat();
  return types.map((type) => (type === "array" ? `list of ${typeOf(schema.items)}` : WORDS[type] ?? type)).join(" or ");
}

const WORDS = { string: "text", integer: "whole number", boolean: "true / false" };

/** The same of a field: one that may be left out may be `null`, too, which goes without saying. */
const typeOfField = (field, required) => (required ? typeOf(field) : typeOf(field).replace(/ or null$/, ""));

/** Words with what stands in backticks as code. */
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

/** A table of a schema's fields, or `null` where it has none. */
export function fieldsOf(document, schema) {
  const whole = resolve(document, schema);
  const rows = Object.entries(whole.properties ?? {}).map(([name, field]) => row(document, name, field, whole.required?.includes(name)));
  return rows.length ? table(["Field", "Type", "Meaning"], rows) : null;
}

/** Rows of a table under these heads, in a frame that scrolls on narrow screens. */
export function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  return make("div", { class: "scrolls" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

/** A field's or a parameter's row. */
export function row(document, name, field, required) {
  const meaning = field.description ?? resolve(document, field).description ?? "";
  const bounds = boundsOf(field);
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name, required ? make("span", { class: "required" }, "required") : null),
    make("td", { class: "type" }, typeOfField(field, required)),
    make("td", {}, make("p", {}, ...prose(bounds ? `${meaning} (${bounds})` : meaning)), ...nested(document, field)),
  );
}

function boundsOf({ minimum, maximum, default: value }) {
  const told = [
    // No whole number here is below 0.
    minimum > 0 && `at least ${minimum}`,
    maximum !== undefined && `at most ${maximum}`,
    value !== undefined && value !== null && `left out: ${JSON.stringify(value)}`,
  ];
  return told.filter(Boolean).join(", ");
}

/** What is inside, to be opened; it is made when it is, because types may hold themselves. */
export function nested(document, schema) {
  const inner = [schema, schema.items, ...(casesOf(schema) ?? [])].filter((part) => part && typeof part === "object");
  const found = inner.flatMap((part) => (part === schema ? [part] : [part, ...(casesOf(part) ?? []), part.items ?? []].flat()));
  const parts = found.filter((part) => part.$ref && parted(document, part));
  return parts.map((part) => {
    const details = make("details", { class: "nested" }, make("summary", {}, nameOf(part)));
    const fill = () => details.append(...contents(document, part));
    details.addEventListener("toggle", fill, { once: true });
    return details;
  });
}

const parted = (document, part) => {
  const whole = resolve(document, part);
  return Boolean(whole.properties || casesOf(whole));
};

/** A schema's own words, its fields, and what those cases are that it may be. */
export function contents(document, schema) {
  const whole = resolve(document, schema);
  const words = whole.description ? make("p", { class: "hint" }, ...prose(whole.description)) : null;
  // It has the fields of all of them.
  if (whole.allOf) return [words, ...whole.allOf.flatMap((part) => contents(document, part))].filter(Boolean);
  const cases = casesOf(whole) ?? [];
  const told = cases.filter(({ type }) => type !== "null").map((one) => {
    const meaning = one.description ?? resolve(document, one).description;
    return make("li", {}, ...prose(meaning ? `${typeOf(one)}: ${meaning}` : typeOf(one)), ...nested(document, one), one.properties ? fieldsOf(document, one) : null);
  });
  return [words, fieldsOf(document, whole), told.length ? make("ul", {}, ...told) : null].filter(Boolean);
}

/** Values that say something, for the fields that a body must have. */
const SAMPLES = {
  prompt: "Hello",
  content: "Hello",
  input: "Hello",
  messages: [{ role: "user", content: "Hello" }],
  tokens: [1, 2, 3],
};

/** The least that a body may be. */
export function exampleOf(document, schema) {
  const whole = resolve(document, schema);
  const wanted = new Set([...(whole.required ?? []), ...["prompt", "content"].filter((name) => whole.properties?.[name])]);
  return Object.fromEntries([...wanted].map((name) => [name, SAMPLES[name] ?? "…"]));
}
