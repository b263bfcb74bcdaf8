// A conversation. It lives on the page alone; what was asked and answered is in the vault.

import { announceAnswer, show } from "./answer.js";
import { announce, find, make, showProblem } from "./dom.js";
import { onSend } from "./forms.js";
import { chosen } from "./settings.js";

/** `{role, content}` as they are sent. */
let messages = [];

const list = () => find("#chat-messages");

function add(role, content) {
  const text = make("div", { class: "answer" }, content);
  list().append(make("li", { "data-role": role }, make("span", { class: "who" }, role === "user" ? "You" : "Model"), text));
  list().scrollTop = list().scrollHeight;
  return text;
}

async function complete() {
  const view = find("#view-chat");
  const settings = chosen();
  const system = find("#chat-system").value.trim();
  const output = add("assistant", "");
  announce("Answering");
  const result = await show({
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
    model: find("#engine").value || undefined,
    settings,
    output,
    measures: find("#chat-measures"),
    problem: find(":scope > .problem", view),
    within: view,
  });
  // What was said counts also where it was cut short; what failed before its first word is no message.
  if (result.text) messages.push({ role: "assistant", content: result.text });
  else if (!result.done) output.parentElement.remove();
  find("#chat-again").disabled = !messages.length;
  list().scrollTop = list().scrollHeight;
  announceAnswer(result);
}

function clear() {
  messages = [];
  list().replaceChildren();
  find("#chat-measures").replaceChildren();
  showProblem(find("#view-chat > .problem"), null);
  find("#chat-again").disabled = true;
}

/** Takes up a conversation of the log, as far as it consists of text. */
export function goOn({ request, response }) {
  clear();
  const said = [...request.messages, { role: "assistant", content: response }].map(({ role, content }) => ({ role, content: textOf(content) }));
  find("#chat-system").value = said.filter(({ role }) => role === "system").map(({ content }) => content).join("\n");
  messages = said.filter(({ role, content }) => role !== "system" && content);
  for (const { role, content } of messages) add(role, content);
  find("#chat-again").disabled = false;
}

/** A message's content is text, or parts of which some are. */
export const textOf = (content) =>
  Array.isArray(content) ? content.map(({ text }) => text ?? "").join("") : content ?? "";

export function begin() {
  const field = find("#chat-text");
  const run = onSend(find("#chat-form"), async () => {
    const content = field.value;
    chosen(); // What is wrong in the settings is told before the message is gone.
    messages.push({ role: "user", content });
    add("user", content);
    field.value = "";
    await complete();
  });
  find("#chat-again").addEventListener("click", () => run(async () => {
    if (messages.at(-1)?.role === "assistant") {
      messages.pop();
      list().lastElementChild.remove();
    }
    await complete();
  }));
  find("#chat-new").addEventListener("click", () => {
    if (find("#view-chat").dataset.busy) return;
    clear();
    field.focus();
  });
}
