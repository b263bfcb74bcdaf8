// What the forms of all views have in common: sending, stopping, and telling what went wrong.

import { stop } from "./answer.js";
import { isAbort } from "./api.js";
import { find, showProblem } from "./dom.js";

const enable = (button, enabled) => button?.setAttribute("aria-disabled", String(!enabled));

/**
 * Calls `send` when the form is sent, once at a time. Buttons stay where the keyboard's focus may be, so they are never really
 * disabled. Returns a function that sends, or does this other thing the same way.
 */
export function onSend(form, send, halt = stop) {
  const view = form.closest("[role=tabpanel]");
  const [sends, stops] = ["[data-send]", "[data-stop]"].map((name) => find(name, form));
  const problem = find(":scope > .problem", view);
  let busy = false;
  const run = async (what = send) => {
    if (busy) return;
    busy = true;
    enable(sends, false);
    enable(stops, true);
    view.dataset.busy = "true";
    showProblem(problem, null);
    try {
      await what();
    } catch (error) {
      if (!isAbort(error)) showProblem(problem, error);
    } finally {
      busy = false;
      enable(sends, true);
      enable(stops, false);
      delete view.dataset.busy;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  stops.addEventListener("click", () => halt(view));
  return run;
}
