// The daemon, asked. Every path is relative, so the page also works behind a proxy that puts a folder in front.

const KEY = "minivault-key";

/** What the daemon refused or failed with: its own words. */
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
    this.param = detail.param;
  }
}

/** The daemon can't be reached, or the connection broke off. */
export class Unreachable extends Error {
  constructor() {
    super("The daemon doesn't answer.");
    this.code = "unreachable";
  }
}

export const isAbort = (error) => error?.name === "AbortError";

/** The tab's key; "" is none. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** Asks a person for a key and says whether there is a new one; app.js puts the dialog here. */
export const onUnauthorized = { ask: async () => false };

/**
 * The response to a request; an error with the daemon's words if it isn't a good one, nor of a status in `accept`. `body` is JSON text or
 * a value. With `quiet` nobody is asked for a key.
 */
export async function ask(path, { body, signal, headers = {}, quiet = false, accept = [] } = {}) {
  for (;;) {
    const used = key.get();
    const response = await send(path, { body, signal, headers, used });
    if (response.ok || accept.includes(response.status)) return response;
    const error = await refusal(response);
    if (error.status !== 401 || quiet) throw error;
    // Another request may have asked meanwhile.
    if (key.get() === used && !(await onUnauthorized.ask(error.message))) throw error;
  }
}

async function send(path, { body, signal, headers, used }) {
  const all = { ...headers };
  if (used) all.Authorization = `Bearer ${used}`;
  const init = { signal, headers: all, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    init.method = "POST";
    init.body = typeof body === "string" ? body : JSON.stringify(body);
    all["Content-Type"] = "application/json";
  }
  try {
    return await fetch(path, init);
  } catch (error) {
    throw isAbort(error) ? error : new Unreachable();
  }
}

async function refusal(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = parse(text);
    if (error?.message) return new ApiError(response.status, error);
  } catch {
    // A proxy in between speaks for itself.
  }
  return new ApiError(response.status, { message: `The answer has status ${response.status}${text ? `: ${text.slice(0, 300)}` : ""}` });
}

/** JSON whose seeds are text: they have 64 bits, which numbers here don't hold. */
export function parse(text) {
  return JSON.parse(text, (name, value, context) =>
    name === "seed" && typeof value === "number" ? context?.source ?? String(value) : value,
  );
}

/** A value as JSON, its seed (text) as a number of all its digits. */
export function withSeed(body, seed) {
  const text = JSON.stringify(body);
  return seed ? `${text.slice(0, -1)},"seed":${seed}}` : text;
}

export const askJson = async (path, options) => parse(await (await ask(path, options)).text());

/** The events of a stream: `{event, data}`, data as text. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        throw isAbort(error) ? error : new Unreachable();
      });
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = { event: "", data: "" };
        const data = [];
        for (const line of block.split("\n")) {
          const end = line.indexOf(":");
          // A line that begins with a colon only keeps the connection awake.
          if (end <= 0) continue;
          const text = line.slice(end + 1).replace(/^ /, "");
          if (line.startsWith("data")) data.push(text);
          else if (line.startsWith("event")) event.event = text;
        }
        if (!data.length) continue;
        event.data = data.join("\n");
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
