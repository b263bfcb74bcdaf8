// One interaction of the log: all that it holds, and whether it can be had again.

import { askJson } from "./api.js";
import { goOn as continueChat } from "./chat.js";
import { announce, count, duration, find, findAll, make, showProblem, time } from "./dom.js";
import { take } from "./settings.js";

const VERDICTS = {
  identical: "Identical, token by token.",
  differs: "Another answer: a token differs.",
  same_text: "The same text.",
  different_text: "Another text.",
};

const panel = () => find("#vault-shown");

export function hideInteraction() {
  panel().hidden = true;
  panel().replaceChildren();
}

/** Shows it in the place beside the list, if it is still wanted once it is there. */
export async function showInteraction(id, wanted) {
  const record = await askJson(`interactions/${encodeURIComponent(id)}`);
  if (!wanted()) return;
  const replayed = make("div", { class: "replayed", "aria-live": "polite" });
  panel().replaceChildren(
    make("div", { class: "row" }, make("h2", {}, "Interaction"), make("a", { href: "#vault", class: "close" }, "Close")),
    make("h3", {}, "Prompt"), make("pre", { class: "text", tabindex: 0, "aria-label": "Prompt" }, record.prompt),
    make("h3", {}, "Answer"), make("pre", { class: "text", tabindex: 0, "aria-label": "Answer", id: "vault-response" }, record.response),
    ...(record.tool_calls ?? []).map((call) => make("pre", { class: "text" }, JSON.stringify(call, null, 1))),
    actions(record, replayed), replayed,
    make("h3", {}, "About it"), about(record),
    make("details", {}, make("summary", {}, "The whole line"), make("pre", { class: "text", tabindex: 0 }, JSON.stringify(record, null, 2))),
  );
  panel().hidden = false;
  panel().focus();
  if (panel().getBoundingClientRect().top > innerHeight * 0.8) panel().scrollIntoView();
}

function about(record) {
  const { computation = {}, usage } = record;
  const cached = usage.cached_tokens ? `, ${usage.cached_tokens} of them from the cache` : "";
  const facts = {
    Time: time(record.timestamp),
    Name: record.id,
    Number: record.seq,
    Asked: record.endpoint,
    Engine: `${record.model} (${record.backend}, ${record.determinism})`,
    Computed: [computation.version, computation.dtype, computation.kernel, computation.threads && count(computation.threads, "thread")]
      .filter(Boolean).join(", "),
    Seed: record.seed,
    Tokens: `${usage.prompt_tokens} of the prompt${cached}, ${usage.completion_tokens} of the answer`,
    Ended: `${record.finish_reason} (status ${record.status})${record.error ? `: ${record.error}` : ""}`,
    Took: `${duration(record.duration_ms)}${record.ttft_ms === null || record.ttft_ms === undefined ? "" : `, first token after ${duration(record.ttft_ms)}`}`,
    Key: record.key,
  };
  const rows = Object.entries(facts).filter(([, value]) => value !== undefined && value !== "");
  const list = make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
  if (record.replay_of) {
    const link = make("a", { href: `#vault/${encodeURIComponent(record.replay_of)}` }, record.replay_of);
    list.append(make("dt", {}, "Replay of"), make("dd", {}, link));
  }
  return list;
}

function actions(record, output) {
  const engines = findAll("#engine option").map(({ value }) => value);
  const choice = make("select", { id: "replay-engine" },
    make("option", { value: "" }, `the engine that answered (${record.model})`),
    ...engines.filter((name) => name !== record.model).map((name) => make("option", { value: name }, name)));
  const button = make("button", { type: "button", id: "replay", class: "main" }, "Replay");
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    output.replaceChildren(make("p", {}, "Asking it again …"));
    try {
      const body = choice.value ? { engine: choice.value } : {};
      output.replaceChildren(...outcome(record, await askJson(`interactions/${encodeURIComponent(record.id)}/replay`, { body })));
    } catch (error) {
      const problem = make("p", { class: "problem" });
      showProblem(problem, error);
      output.replaceChildren(problem);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  const isChat = Boolean(record.request?.messages);
  const again = make("button", { type: "button" }, isChat ? "Go on in the chat" : "Use in the prompt");
  again.addEventListener("click", () => {
    take(record);
    if (isChat) continueChat(record);
    else find("#prompt-text").value = record.prompt;
    location.hash = isChat ? "chat" : "prompt";
    announce(`The ${isChat ? "conversation" : "prompt"} and its settings are filled in.`);
  });
  return make("div", { class: "row" },
    button, make("span", { class: "pair" }, make("label", { for: "replay-engine" }, "of"), " ", choice), again);
}

/** What came of a replay, with the place where the answers part. */
function outcome(record, answer) {
  const { verdict, difference, notes, id } = answer;
  const same = ["identical", "same_text"].includes(verdict);
  const parts = [
    make("p", { class: "verdict", "data-same": String(same), "data-verdict": verdict }, make("strong", {}, VERDICTS[verdict] ?? verdict), " ",
      make("a", { href: `#vault/${encodeURIComponent(id)}` }, "The new answer")),
  ];
  if (notes.length) parts.push(make("ul", {}, ...notes.map((note) => make("li", {}, note))));
  if (difference) {
    const bytes = new TextEncoder().encode(record.response);
    const common = new TextDecoder().decode(bytes.slice(0, difference.byte));
    const where = difference.token === undefined || difference.token === null ? `byte ${difference.byte}` : `token ${difference.token + 1}`;
    const side = (name, rest) => [
      make("dt", {}, name), make("dd", {}, make("pre", { class: "text", tabindex: 0, "aria-label": name }, common, make("mark", {}, rest || "(ends)"))),
    ];
    parts.push(
      make("p", {}, `They part at ${where}:`),
      make("dl", { class: "parting" }, ...side("Then", difference.recorded), ...side("Now", difference.replayed)),
    );
  }
  return parts;
}
