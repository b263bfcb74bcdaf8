// The Node client holds one conversation, whole and streamed, and hears the same both ways.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

const { OpenAI } = createRequire(`${process.env.COMPAT_NODE}/`)("openai");
const client = new OpenAI({ baseURL: process.env.COMPAT_BASE_URL, apiKey: "none" });
const model = process.env.COMPAT_MODEL;
const sampling = { temperature: 0, max_tokens: 40 };
const system = { role: "system", content: "You answer in one short sentence." };
const first = { role: "user", content: "What is the capital of France?" };
const second = { role: "user", content: "And which river flows through it?" };

async function converse(ask) {
  const paris = await ask([system, first]);
  assert.match(paris, /Paris/);
  const river = await ask([system, first, { role: "assistant", content: paris }, second]);
  assert.ok(river.trim());
  return [paris, river];
}

async function whole(messages) {
  const answer = await client.chat.completions.create({ model, messages, ...sampling });
  return answer.choices[0].message.content;
}

async function streamed(messages) {
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, ...sampling })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  return text;
}

test("openai for Node holds a conversation", async () => {
  assert.deepEqual(await converse(whole), await converse(streamed));
});

test("openai for Node collects a stream", async () => {
  const stream = client.chat.completions.stream({ model, messages: [system, first], ...sampling });
  assert.match(await stream.finalContent(), /Paris/);
});

test("openai for Node types errors", async () => {
  const question = { model, messages: [first], temperature: -1 };
  await assert.rejects(client.chat.completions.create(question), { status: 400, code: "invalid_request", param: "temperature" });
});
