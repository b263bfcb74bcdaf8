// A prompt and its continuation.

import { announceAnswer, show } from "./answer.js";
import { announce, find } from "./dom.js";
import { onSend } from "./forms.js";
import { chosen } from "./settings.js";

export function begin() {
  const view = find("#view-prompt");
  onSend(find("#prompt-form"), async () => {
    const settings = chosen();
    announce("Generating");
    const result = await show({
      prompt: find("#prompt-text").value,
      model: find("#engine").value || undefined,
      settings,
      output: find("#prompt-answer"),
      measures: find("#prompt-measures"),
      problem: find(":scope > .problem", view),
      within: view,
    });
    announceAnswer(result);
  });
}
