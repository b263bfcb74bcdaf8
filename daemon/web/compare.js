// Two engines on one prompt, side by side.

import { announceAnswer, show } from "./answer.js";
import { announce, count, find, make, rounded } from "./dom.js";
import { onSend } from "./forms.js";
import { chosen } from "./settings.js";

/** Where two texts part, in UTF-16 units and never inside of a character. */
export function parting(one, other) {
  let at = 0;
  while (at < one.length && at < other.length && one[at] === other[at]) at += 1;
  if (at > 0 && /[\uD800-\uDBFF]/.test(one[at - 1])) at -= 1;
  return at;
}

/** Marks in an element that holds plain text what follows this place. */
export function markFrom(element, text, at) {
  if (element.querySelector(".token")) return; // Tokens keep their own colours.
  element.replaceChildren(text.slice(0, at), make("mark", {}, text.slice(at)));
}

export function begin() {
  const view = find("#view-compare");
  const verdict = find("#compare-verdict");
  onSend(find("#compare-form"), async () => {
    const settings = chosen();
    const text = find("#compare-text").value;
    const asked = find("#compare-chat").checked ? { messages: [{ role: "user", content: text }] } : { prompt: text };
    verdict.hidden = true;
    announce("Asking both");
    const ask = async (side) => {
      const element = find(`#side-${side}`);
      const model = find(`#compare-${side}`).value;
      find("h2", element).textContent = `${side.toUpperCase()}: ${model}`;
      const output = find(".answer", element);
      const result = await show({
        ...asked, model, settings, output, measures: find(".measures", element), problem: find(".problem", element), within: view,
      });
      return { ...result, output, model };
    };
    const [a, b] = await Promise.all(["a", "b"].map(ask));
    if (!a.done || !b.done) return;
    const at = parting(a.text, b.text);
    const same = a.text === b.text;
    if (!same) for (const { output, text } of [a, b]) markFrom(output, text, at);
    const rates = [a, b].map(({ measured }) => measured.rate);
    verdict.textContent = [
      same ? "Both say the same." : at ? `They say the same for ${count([...a.text.slice(0, at)].length, "character")}, then part.` : "They part at once.",
      rates.every(Boolean) ? ` A came at ${rounded(rates[0] / rates[1])} times the speed of B.` : "",
    ].join("");
    verdict.hidden = false;
    announceAnswer(a, `A, ${a.model}`);
  });
}
