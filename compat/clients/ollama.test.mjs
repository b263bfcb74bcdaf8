// Ollama's own Node client: a chat whole and streamed, the list of models, vectors.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

const { Ollama } = createRequire(`${process.env.COMPAT_NODE}/`)("ollama");
const client = new Ollama({ host: process.env.COMPAT_OLLAMA });
const model = "smollm2";
const options = { temperature: 0, num_predict: 40 };
const messages = [
  { role: "system", content: "You answer in one short sentence." },
  { role: "user", content: "What is the capital of France?" },
];

test("ollama for Node holds a chat, whole and streamed", async () => {
  const whole = await client.chat({ model, messages, options });
  assert.match(whole.message.content, /Paris/);
  let text = "";
  for await (const part of await client.chat({ model, messages, options, stream: true })) text += part.message.content;
  assert.equal(text, whole.message.content);
});

test("ollama for Node stops a stream", async () => {
  const stream = await client.chat({ model, messages, options: { num_predict: 500 }, stream: true });
  await assert.rejects(async () => {
    for await (const part of stream) if (part.message.content) stream.abort();
  }, { name: "AbortError" });
});

test("ollama for Node lists models and embeds", async () => {
  const { models } = await client.list();
  assert.ok(models.some(({ name }) => name === "smollm2:latest"));
  const { embeddings } = await client.embed({ model: "embedder", input: ["Paris", "France"] });
  assert.deepEqual(embeddings.map((vector) => vector.length), [576, 576]);
});

test("ollama for Node is told what was wrong", async () => {
  await assert.rejects(client.chat({ model: "smolm2", messages }), /did you mean `smollm2`/);
});
