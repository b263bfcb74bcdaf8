// One answer of the daemon as it comes: from whichever route, told alike.

import { ApiError, ask, askJson, events, parse, withSeed } from "./api.js";
import { engineOf, inFull, usualTokens } from "./settings.js";

/** Alternatives of each token that are asked for. */
const ALTERNATIVES = 5;

/**
 * What is asked of an engine: `prompt` or `messages`, and what `settings.chosen` says. Yields `{text, tokens}` as they come, then
 * `{done}`: id, model, finish_reason, usage, and the seed where it was told.
 */
export async function* answer({ prompt, messages, model, settings, signal }) {
  const { fields, seed, tokens, needsV1 } = settings;
  if (messages) {
    const body = { messages, model, stream: true, stream_options: { include_usage: true }, ...inFull(fields) };
    if (tokens) Object.assign(body, { logprobs: true, top_logprobs: ALTERNATIVES });
    yield* v1("v1/chat/completions", withSeed(body, seed), signal, (choice) => ({
      text: choice.delta?.content ?? "",
      tokens: choice.logprobs?.content?.map(ofChat),
    }));
  } else if (tokens || needsV1) {
    const body = { prompt, model, stream: true, stream_options: { include_usage: true }, ...inFull(fields) };
    body.max_tokens ??= await room({ prompt, model, signal });
    if (tokens) body.logprobs = ALTERNATIVES;
    yield* v1("v1/completions", withSeed(body, seed), signal, (choice) => ({
      text: choice.text ?? "",
      tokens: choice.logprobs ? ofCompletion(choice.logprobs) : undefined,
    }));
  } else {
    yield* native(withSeed({ prompt, model, ...fields }, seed), signal);
  }
}

async function* native(body, signal) {
  const response = await ask("stream-generate", { body, signal, headers: { Accept: "text/event-stream" } });
  for await (const { event, data } of events(response)) {
    if (event === "error") throw failure(data);
    if (event === "done") {
      yield { done: parse(data) };
      return;
    }
    yield { text: parse(data).token };
  }
  throw new Error("The answer broke off before its end.");
}

async function* v1(path, body, signal, read) {
  const done = {};
  for await (const { event, data } of events(await ask(path, { body, signal }))) {
    if (data === "[DONE]") {
      yield { done };
      return;
    }
    const chunk = parse(data);
    if (event === "error" || chunk.error) throw failure(data);
    done.id = chunk.id;
    done.model = chunk.model;
    if (chunk.usage) done.usage = chunk.usage;
    const [choice] = chunk.choices;
    if (!choice) continue;
    if (choice.finish_reason) done.finish_reason = choice.finish_reason;
    const piece = read(choice);
    if (piece.text || piece.tokens?.length) yield piece;
  }
  throw new Error("The answer broke off before its end.");
}

const failure = (data) => new ApiError(500, parse(data).error);

/** As many tokens as usual, or as the prompt leaves in the context; that /v1 is told a number and refuses one too large. */
async function room({ prompt, model, signal }) {
  const usual = usualTokens();
  const context = engineOf(model)?.minivault?.loaded?.context_length;
  if (!context) return usual;
  const { tokens } = await askJson("tokenize", { body: { content: prompt, model }, signal });
  return Math.max(1, Math.min(usual, context - tokens.length));
}

const ofChat = ({ token, logprob, top_logprobs: top }) => ({
  text: token,
  logprob,
  top: top.map(({ token, logprob }) => ({ text: token, logprob })),
});

function ofCompletion({ tokens, token_logprobs: logprobs, top_logprobs: tops }) {
  return tokens.map((text, index) => ({
    text,
    logprob: logprobs[index],
    top: Object.entries(tops?.[index] ?? {})
      .map(([text, logprob]) => ({ text, logprob }))
      .sort((one, other) => other.logprob - one.logprob),
  }));
}

/** Measures an answer as it comes. Pieces stand for tokens until the daemon has counted them. */
export class Stopwatch {
  #began = performance.now();
  #first;
  #last;
  #tokens = 0;
  #ended;

  piece({ text, tokens }) {
    const now = performance.now();
    this.#first ??= now;
    this.#last = now;
    this.#tokens += tokens?.length ?? (text ? 1 : 0);
  }

  end(usage) {
    this.#ended = performance.now();
    if (usage?.completion_tokens) this.#tokens = usage.completion_tokens;
  }

  /** Tokens, tokens per second, and times in milliseconds, as far as they are known. */
  read() {
    const total = (this.#ended ?? performance.now()) - this.#began;
    if (this.#first === undefined) return { tokens: this.#tokens, total };
    const seconds = (this.#last - this.#first) / 1000;
    // The first token's time is the prompt's. What came in one packet says nothing of speed.
    const rate = this.#tokens > 1 && seconds >= 0.005 ? (this.#tokens - 1) / seconds : undefined;
    return { tokens: this.#tokens, rate, first: this.#first - this.#began, total };
  }
}
