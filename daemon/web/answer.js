// An answer on the page: its text, or its tokens with what the model thought of them, and how fast it came.

import { askJson, isAbort } from "./api.js";
import { Stopwatch, answer } from "./asking.js";
import { announce, count, duration, find, make, rounded, showProblem } from "./dom.js";
import { appendTokens } from "./tokens.js";

/** Milliseconds between two looks at the clock. */
const TICK = 200;

/** Answers under way, newest last: what Esc stops. */
const running = new Set();

export const isRunning = () => running.size > 0;

/** Stops what is under way in this part of the page; all of it if none is named. */
export function stop(within) {
  for (const run of running) {
    if (!within || within.contains(run.within)) run.controller.abort();
  }
}

/**
 * Asks and shows the answer in `output`, its measures and problems beside it. Returns `{text, done, error}`; a stopped answer has
 * neither `done` nor an `error`.
 */
export async function show({ output, measures, problem, within, ...question }) {
  const run = { controller: new AbortController(), within };
  running.add(run);
  output.replaceChildren();
  output.setAttribute("aria-busy", "true");
  measures.replaceChildren();
  showProblem(problem, null);
  const watch = new Stopwatch();
  const tick = setInterval(() => tell(measures, watch), TICK);
  const writer = new Writer(output);
  const result = { text: "" };
  tell(measures, watch);
  try {
    for await (const { done, ...piece } of answer({ ...question, signal: run.controller.signal })) {
      if (done) {
        result.done = done;
        break;
      }
      watch.piece(piece);
      result.text += piece.text;
      writer.write(piece);
    }
  } catch (error) {
    if (!isAbort(error)) {
      result.error = error;
      showProblem(problem, error);
    }
  } finally {
    writer.flush();
    watch.end(result.done?.usage);
    clearInterval(tick);
    running.delete(run);
    output.removeAttribute("aria-busy");
  }
  result.measured = watch.read();
  const { finish_reason: reason } = result.done ?? {};
  tell(measures, watch, reason ? `ended by ${reason.replace("_", " ")}` : result.error ? "broken off" : "stopped");
  if (result.done) await tellSeed(measures, result.done);
  return result;
}

/** Says a whole answer to who can't see it, shortened where it is long. */
export function announceAnswer({ text, done, error }, who = "Answer") {
  if (error) return; // The problem is said where it is shown.
  const said = text.length > 600 ? `${text.slice(0, 600)} …` : text;
  announce(`${who}${done ? "" : ", stopped"}: ${said || "no text"}`);
}

/** Puts pieces into the page at most once a frame, whatever their number. */
class Writer {
  #pieces = [];
  #frame = 0;
  #text = null;

  constructor(output) {
    this.output = output;
  }

  write(piece) {
    this.#pieces.push(piece);
    // A page in the background has no frames.
    if (document.hidden) this.flush();
    else this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { output } = this;
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 24;
    for (const { text, tokens } of this.#pieces.splice(0)) {
      if (tokens?.length) {
        appendTokens(output, tokens);
        this.#text = null;
      } else if (text) {
        if (!this.#text) output.append((this.#text = document.createTextNode("")));
        this.#text.appendData(text);
      }
    }
    if (atEnd) output.scrollTop = output.scrollHeight;
  }
}

function tell(measures, watch, how) {
  const { tokens, rate, first, total } = watch.read();
  const words = [
    first === undefined ? (how ? null : "waiting for the first token") : count(tokens, "token"),
    rate && `${rounded(rate)} tokens/s`,
    first !== undefined && `first token after ${duration(first)}`,
    `${duration(total)}${how ? " in all" : ""}`,
    how,
  ];
  measures.textContent = words.filter(Boolean).join(" · ");
}

/** The seed that gives the answer again, and where it is kept. A route of OpenAI's doesn't tell the seed; the log does. */
async function tellSeed(measures, { id, seed, logged }) {
  if (logged === false) {
    measures.append(" · it could not be written to the log");
    return;
  }
  try {
    seed ??= (await askJson(`interactions/${encodeURIComponent(id)}`, { quiet: true })).seed;
  } catch {
    return; // The log may be off.
  }
  const use = () => {
    find("#seed").value = seed;
    find("#seed").dispatchEvent(new Event("input", { bubbles: true }));
    announce(`The next request has the seed ${seed}.`);
  };
  measures.append(
    " · ",
    make("button", { type: "button", class: "link", onclick: use, title: "Puts it into the settings" }, `seed ${seed}`),
    " · ",
    make("a", { href: `#vault/${encodeURIComponent(id)}` }, "in the vault"),
  );
}
