// Whether the daemon is there: asked now and then, told when it changes.

import { Unreachable, ask } from "./api.js";
import { find, make } from "./dom.js";

/** Milliseconds between two questions while all is well, and while it isn't. */
const CALM = 3000;
const WAITING = 1000;
/** After so many calm questions whether it is alive, which no key pays for, one whether it is ready. */
const READY_EACH = 10;

const WORDS = { refusing: "Refuses", ready: "Ready", loading: "Loading", failed: "Failed", draining: "Shutting down", degraded: "Can't log" };

let state = "unknown";
let gone = false;
let asked = 0;
let timer;

/** Asks for ever. `onChange` is called when the daemon is there for the first time, and whenever it is otherwise than before. */
export function watch(onChange) {
  const look = async () => {
    clearTimeout(timer);
    const next = document.hidden && !gone ? state : await now();
    const changed = next !== state && next !== "gone";
    state = next;
    if (changed) onChange();
    timer = setTimeout(look, state === "ready" ? CALM : WAITING);
  };
  document.addEventListener("visibilitychange", () => document.hidden || look());
  look();
}

async function now() {
  const calm = state === "ready" && asked++ % READY_EACH !== 0;
  try {
    const signal = AbortSignal.timeout(10_000);
    if (calm) {
      await ask("health", { quiet: true, signal });
      return state;
    }
    // While it isn't ready it says so with 503 and the same body.
    const told = await (await ask("ready", { quiet: true, signal, accept: [503] })).json();
    const { status = "refusing", engine = told.error?.message, answered_by: by, reason } = told;
    tell(status, `${WORDS[status] ?? status}: ${by ? `${by} in place of ${engine}` : engine}`, reason);
    return status;
  } catch (error) {
    if (error instanceof Unreachable) {
      lose();
      return "gone";
    }
    // It is there and wants a key, or fewer questions.
    tell("refusing", error.status === 401 ? "An API key is needed" : error.message);
    return "refusing";
  }
}

function tell(name, text, reason) {
  const element = find("#state");
  if (element.dataset.state !== name || element.textContent !== text) {
    element.dataset.state = name;
    element.textContent = text;
  }
  element.title = reason ?? "";
  const notice = find("#gone");
  if (gone) {
    gone = false;
    notice.dataset.back = "true";
    notice.replaceChildren("The daemon is back.");
    setTimeout(() => gone || (notice.hidden = true), 5000);
  }
}

function lose() {
  if (gone) return;
  gone = true;
  const notice = find("#gone");
  delete notice.dataset.back;
  notice.hidden = false;
  notice.replaceChildren(make("strong", {}, "The daemon is gone."), " Trying to reach it again …");
  find("#state").dataset.state = "gone";
  find("#state").textContent = "Gone";
}
