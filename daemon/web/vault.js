// The log: searched, paged, looked at. What is shown of one interaction is in interaction.js.

import { ask, parse } from "./api.js";
import { textOf } from "./chat.js";
import { announce, count, find, findAll, make, showProblem, time } from "./dom.js";
import { onSend } from "./forms.js";
import { hideInteraction, showInteraction } from "./interaction.js";

const LINES = 20;
/** Letters of a prompt and an answer that a line of the list has. */
const EXCERPT = 160;

/** What `before` was for this page and for those after it; the newest page has none. */
let pages = [""];
/** What `before` is for the page behind this one; null where the log ends. */
let next = null;
let searching = null;

function filters() {
  const value = (name) => find(`#vault-${name}`).value.trim();
  const asked = new URLSearchParams();
  if (value("grep")) {
    asked.set("grep", find("#vault-grep").value);
    if (find("#vault-regex").checked) asked.set("regex", "true");
  }
  for (const [name, field] of [["model", "model"], ["finish_reason", "finish"], ["status", "status"]]) {
    if (value(field)) asked.set(name, value(field));
  }
  for (const name of ["since", "until"]) {
    // The field has this machine's time, the log UTC.
    if (value(name)) asked.set(name, new Date(value(name)).toISOString());
  }
  return asked;
}

/** Fills a page. A search through a long log comes in parts, some without a line. */
async function load() {
  searching?.abort();
  const controller = (searching = new AbortController());
  const told = find("#vault-told");
  const asked = filters();
  const lines = [];
  let before = pages.at(-1);
  let looked = 0;
  told.textContent = "Looking …";
  do {
    asked.set("limit", String(LINES - lines.length));
    if (before) asked.set("before", before);
    const response = await ask(`interactions?${asked}`, { signal: controller.signal });
    before = response.headers.get("x-minivault-next");
    lines.push(...(await response.text()).split("\n").filter(Boolean).map(parse));
    looked += 1;
    if (looked > 1) told.textContent = `Looking … ${count(lines.length, "interaction")} so far`;
  } while (before && lines.length < LINES);
  next = before;
  find("#vault-lines").replaceChildren(...lines.map(line));
  told.textContent = lines.length ? `${count(lines.length, "interaction")}${pages.length > 1 ? `, page ${pages.length}` : ""}` : "Nothing there.";
  find("#vault-newer").disabled = pages.length < 2;
  find("#vault-older").disabled = !next;
  markCurrent();
}

const excerpt = (text) => {
  const line = (text ?? "").replace(/\s+/g, " ").trim();
  return line.length > EXCERPT ? `${line.slice(0, EXCERPT)}…` : line || "(no text)";
};

function line(record) {
  const { id, timestamp, request, prompt, response, model, finish_reason: finish, usage, replay_of: replayed } = record;
  const about = [time(timestamp), model, count(usage.completion_tokens, "token"), finish, replayed ? "replay" : ""];
  return make("li", {},
    make("a", { href: `#vault/${encodeURIComponent(id)}`, "data-id": id },
      make("span", { class: "about" }, about.filter(Boolean).join(" · ")),
      make("span", { class: "asked" }, excerpt(textOf(request?.messages?.at(-1)?.content) || prompt)),
      make("span", { class: "answered" }, excerpt(response))));
}

/** The interaction that the address names. */
const named = () => {
  const [view, id] = location.hash.slice(1).split("/");
  return view === "vault" && id ? decodeURIComponent(id) : null;
};

function markCurrent() {
  const id = named();
  for (const link of findAll("#vault-lines a")) {
    if (link.dataset.id === id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

let run;

/** Called whenever the address leads here, from another view or from one interaction to another. */
export async function enter(fromOutside) {
  const id = named();
  const problem = find("#view-vault > .problem");
  showProblem(problem, null);
  markCurrent();
  // What was asked elsewhere meanwhile stands on the newest page.
  if (fromOutside && pages.length === 1) run(load);
  if (!id) {
    hideInteraction();
    return;
  }
  try {
    await showInteraction(id, () => named() === id);
  } catch (error) {
    hideInteraction();
    showProblem(problem, error);
  }
}

export function begin() {
  const form = find("#vault-form");
  run = onSend(form, async () => {
    pages = [""];
    if (named()) history.replaceState(null, "", "#vault");
    hideInteraction();
    await load();
  }, () => {
    searching?.abort();
    find("#vault-told").textContent = "Stopped.";
  });
  const turn = (button, change) => find(button).addEventListener("click", () => run(async () => {
    change();
    await load();
    find("#vault-lines a")?.focus();
    announce(find("#vault-told").textContent);
  }));
  turn("#vault-older", () => next && pages.push(next));
  turn("#vault-newer", () => pages.length > 1 && pages.pop());
}
