// The page: its views, its keyboard, and the daemon behind it.
//
// Views stand in index.html; each has a module here. No library, no build: what the browser loads is what lies in this folder.
//
//   api, asking      the daemon asked, and an answer as it comes from each of its routes
//   answer, tokens   an answer shown: text or tokens, measures, probabilities
//   prompt, chat, compare, vault, interaction, metrics   the views
//   settings, forms, status, dom   what they share
//
// docs, schema       /docs, a page of its own

import { ask, key, onUnauthorized } from "./api.js";
import { isRunning, stop } from "./answer.js";
import * as chat from "./chat.js";
import * as compare from "./compare.js";
import { announce, find, findAll, showProblem } from "./dom.js";
import * as metrics from "./metrics.js";
import * as prompt from "./prompt.js";
import * as settings from "./settings.js";
import { watch } from "./status.js";
import * as tokens from "./tokens.js";
import * as vault from "./vault.js";

const tabs = () => findAll("#tabs [role=tab]").filter((tab) => !tab.hidden);
const current = () => find("#tabs [aria-selected=true]").id.slice("tab-".length);

/** Goes where the address says. */
async function arrive() {
  const [wanted] = location.hash.slice(1).split("/");
  const tab = tabs().find(({ id }) => id === `tab-${wanted}`) ?? find("#tab-prompt");
  const name = tab.id.slice("tab-".length);
  const before = document.body.dataset.view;
  for (const other of findAll("#tabs [role=tab]")) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
    find(`#${other.getAttribute("aria-controls")}`).hidden = other !== tab;
  }
  document.body.dataset.view = name;
  tokens.hideDetail();
  metrics.watch(name === "metrics");
  if (name === "vault") vault.enter(before !== "vault");
}

function onTabKey(event) {
  const all = tabs();
  const at = all.indexOf(event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  const tab = all[to % all.length];
  location.hash = tab.id.slice("tab-".length);
  tab.focus();
}

function onKey(event) {
  if (find("#key-dialog").open || event.isComposing) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    find(`#view-${current()} form`)?.requestSubmit();
  } else if (event.key === "Escape") {
    if (tokens.hideDetail()) return;
    const view = find(`#view-${current()}`);
    if (isRunning()) {
      stop(view);
      announce("Stopped");
    } else find("[data-stop][aria-disabled=false]", view)?.click();
  }
}

/** Asks a person for the daemon's key; several requests that need one wait for the same answer. */
function askForKey() {
  const dialog = find("#key-dialog");
  let pending = null;
  const open = (message) => {
    find("#key-told").textContent = message;
    find("#key").value = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => {
        const given = dialog.returnValue === "given";
        find("#change-key").hidden = false;
        resolve(given);
        if (given) refresh();
      }, { once: true });
    });
  };
  const once = (message) => (pending ??= open(message).finally(() => (pending = null)));
  onUnauthorized.ask = once;
  find("#key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(find("#key").value.trim());
    dialog.close("given");
  });
  find("#key-cancel").addEventListener("click", () => dialog.close("left"));
  dialog.addEventListener("cancel", () => (dialog.returnValue = "left"));
  find("#change-key").addEventListener("click", () => once("The key that is sent with each request of this page."));
  find("#change-key").hidden = !key.get();
}

/** What is asked when the daemon is there for the first time, or again. */
async function refresh() {
  try {
    await settings.refreshEngines();
    const there = await ask("metrics", { quiet: true }).then(() => true, () => false);
    find("#tab-metrics").hidden = !there;
    if (location.hash.startsWith("#metrics")) arrive();
  } catch (error) {
    showProblem(find(`#view-${current()} > .problem`), error);
  }
}

settings.begin();
tokens.begin();
prompt.begin();
chat.begin();
compare.begin();
vault.begin();
askForKey();
find("#tabs").addEventListener("click", ({ target }) => {
  if (target.matches("[role=tab]")) location.hash = target.id.slice("tab-".length);
});
find("#tabs").addEventListener("keydown", onTabKey);
document.addEventListener("keydown", onKey);
addEventListener("hashchange", arrive);
arrive();
watch(refresh);
