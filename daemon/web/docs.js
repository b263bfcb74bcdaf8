// /docs: /openapi.json, to be read by people. Everything shown is what the daemon says of itself; nothing stands here twice.

import { ask, key } from "./api.js";
import { announce, count, find, findAll, make, showProblem } from "./dom.js";
import { contents, exampleOf, prose, resolve, row, table } from "./schema.js";

/** What is shown: `{element, link, words}` for each operation. */
const shown = [];

/** Operations by tag; one that answers under several paths is one. */
function operationsOf(document) {
  const groups = new Map((document.tags ?? []).map((tag) => [tag.name, { words: tag.description, operations: new Map() }]));
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "others";
      if (!groups.has(tag)) groups.set(tag, { words: "", operations: new Map() });
      const { operations } = groups.get(tag);
      const same = `${method} ${JSON.stringify(operation)}`;
      if (operations.has(same)) operations.get(same).paths.push(path);
      else operations.set(same, { method, operation, paths: [path] });
    }
  }
  // The longer path is the one with a version, and the others are short for it.
  for (const { operations } of groups.values()) for (const { paths } of operations.values()) paths.sort((one, other) => other.length - one.length);
  return groups;
}

const anchor = (method, path) => `${method}${path.replaceAll(/[^a-z0-9]+/gi, "-")}`;

function curlOf(document, method, path, operation) {
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const words = ["curl", method === "get" ? "" : `-X ${method.toUpperCase()}`, location.origin + path.replaceAll(/\{(\w+)\}/g, (_, name) => name.toUpperCase())];
  if (key.get() && operation.security?.length !== 0) words.push('-H "Authorization: Bearer $MINIVAULT_API_KEY"');
  if (schema) words.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(exampleOf(document, schema))}'`);
  return words.filter(Boolean).join(" ");
}

function copyable(text) {
  const told = make("pre", { class: "text", tabindex: "0" }, text);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      announce("Copied");
      button.textContent = "Copied";
    } catch {
      // Away from this machine and TLS a page may not; then it is chosen, and Ctrl+C does it.
      getSelection().selectAllChildren(told);
      button.textContent = "Ctrl+C";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };
  const button = make("button", { type: "button", onclick: copy }, "Copy");
  return make("div", { class: "line" }, told, button);
}

function answersOf(document, responses) {
  return Object.entries(responses).map(([status, response]) => {
    const { description, content = {}, headers = {} } = resolve(document, response);
    const refused = Number(status) >= 400;
    const details = make("details", { class: "status", open: !refused }, make("summary", {}, make("strong", {}, status), ...prose(description ?? "")));
    for (const [name, header] of Object.entries(headers)) details.append(make("p", { class: "hint" }, `${name}: ${resolve(document, header).description ?? ""}`));
    for (const [type, { schema, examples }] of Object.entries(content)) {
      details.append(make("p", { class: "hint" }, make("code", {}, type)));
      if (refused && examples) details.append(...examplesOf(document, examples));
      else if (schema) details.append(...contents(document, schema));
    }
    return details;
  });
}

function examplesOf(document, examples) {
  return Object.entries(examples).map(([code, example]) => {
    const { value } = resolve(document, example);
    return make("pre", { class: "text", "data-code": code }, JSON.stringify(value, null, 2));
  });
}

function operationElement(document, { method, operation, paths }) {
  const [path, ...others] = paths;
  const { parameters = [], requestBody, responses } = operation;
  const heading = make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), ` ${path}`);
  const element = make("details", { class: "operation", id: anchor(method, path) }, make("summary", {}, heading, make("span", {}, ...prose(operation.summary ?? ""))));
  const say = (title, ...parts) => element.append(make("h4", {}, title), ...parts.filter(Boolean));
  if (operation.description) element.append(make("p", {}, ...prose(operation.description)));
  if (others.length) element.append(make("p", { class: "hint" }, "The same as ", make("code", {}, others.join(", "))));
  say("With curl", copyable(curlOf(document, method, path, operation)));
  if (parameters.length) {
    const rows = parameters.map((one) => row(document, one.name, { ...one.schema, description: one.description }, one.required));
    say("Parameters", table(["Name", "Type", "Meaning"], rows));
  }
  for (const { schema } of Object.values(requestBody?.content ?? {})) say("Body", ...contents(document, schema));
  const good = Object.entries(responses).filter(([status]) => Number(status) < 400);
  const refused = Object.entries(responses).filter(([status]) => Number(status) >= 400);
  say("Answers", ...answersOf(document, Object.fromEntries(good)));
  say("Refusals", ...answersOf(document, Object.fromEntries(refused)));
  return element;
}

/** All words by which an operation is found: its own and those of the types and refusals that it names. */
function wordsOf(document, { method, operation, paths }) {
  const seen = new Set();
  const words = [method, ...paths];
  const read = (value) => {
    if (typeof value === "string") words.push(value);
    else if (value && typeof value === "object") {
      if (value.$ref) {
        if (seen.has(value.$ref)) return;
        seen.add(value.$ref);
        read(resolve(document, value));
        return;
      }
      for (const [name, inner] of Object.entries(value)) {
        words.push(name);
        read(inner);
      }
    }
  };
  read(operation);
  return words.join("\n").toLowerCase();
}

function show(document) {
  const content = find("#content");
  const list = find("#routes");
  content.append(make("p", {}, document.info.description ?? ""));
  for (const [tag, { words, operations }] of operationsOf(document)) {
    if (!operations.size) continue;
    const section = make("section", { "aria-label": tag }, make("h2", {}, tag), make("p", { class: "hint" }, words ?? ""));
    const links = make("ul");
    for (const each of operations.values()) {
      const element = operationElement(document, each);
      const link = make("li", {}, make("a", { href: `#${element.id}` }, `${each.method.toUpperCase()} ${each.paths[0]}`));
      section.append(element);
      links.append(link);
      shown.push({ element, link, words: wordsOf(document, each) });
    }
    content.append(section);
    list.append(make("h2", {}, tag), links);
  }
}

/** Leaves what has all the words that are looked for. */
function search() {
  const wanted = find("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const { element, link, words } of shown) {
    const fits = wanted.every((word) => words.includes(word));
    element.hidden = link.hidden = !fits;
    left += fits;
  }
  for (const section of findAll("#content section")) section.hidden = !find(".operation:not([hidden])", section);
  for (const title of findAll("#routes h2")) title.hidden = !find("li:not([hidden])", title.nextElementSibling);
  find("#found").textContent = wanted.length ? count(left, "route") : "";
}

/** Opens what the address names. */
function arrive() {
  const named = shown.find(({ element }) => element.id === location.hash.slice(1));
  if (!named) return;
  named.element.open = true;
  named.element.scrollIntoView();
  find("summary", named.element).focus({ preventScroll: true });
}

function onKey(event) {
  const field = find("#search");
  if (event.key === "/" && !event.target.matches("input") && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    field.focus();
  } else if (event.key === "Escape" && event.target === field) {
    field.value = "";
    search();
  }
}

async function load() {
  const problem = find("main > .problem");
  try {
    const response = await ask("openapi.json", { quiet: true });
    show(await response.json());
    find("#key-form").hidden = true;
    showProblem(problem, null);
    search();
    arrive();
  } catch (error) {
    find("#key-form").hidden = error.status !== 401;
    showProblem(problem, error);
  }
}

find("#search").addEventListener("input", search);
find("#search-form").addEventListener("submit", (event) => event.preventDefault());
find("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(find("#key").value.trim());
  load();
});
document.addEventListener("keydown", onKey);
addEventListener("hashchange", arrive);
load();
