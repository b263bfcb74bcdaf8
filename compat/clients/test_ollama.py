"""Ollama's own Python client, and LangChain's for Ollama: chats whole and streamed, the list of models, vectors, tools."""

import asyncio
import json
import os

import ollama
import pytest
from langchain_ollama import ChatOllama, OllamaEmbeddings
from talk import FIRST, SYSTEM, converse

HOST = os.environ["COMPAT_OLLAMA"]
MODEL = "smollm2"
OPTIONS = {"temperature": 0, "num_predict": 40}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client():
    return ollama.Client(host=HOST)


def test_chat(client):
    def whole(messages):
        answer = client.chat(model=MODEL, messages=messages, options=OPTIONS)
        assert answer.done and answer.done_reason in ("stop", "length") and answer.eval_count > 0
        assert answer.total_duration >= answer.prompt_eval_duration + answer.eval_duration
        return answer.message.content

    def streamed(messages):
        chunks = list(client.chat(model=MODEL, messages=messages, options=OPTIONS, stream=True))
        assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        return "".join(chunk.message.content for chunk in chunks)

    assert converse(whole) == converse(streamed)


def test_chat_async():
    async def ask():
        client = ollama.AsyncClient(host=HOST)
        chunks = await client.chat(model=MODEL, messages=[SYSTEM, FIRST], options=OPTIONS, stream=True)
        return "".join([chunk.message.content async for chunk in chunks])

    assert "Paris" in asyncio.run(ask())


def test_generate(client):
    question = {"model": MODEL, "prompt": "The capital of France is", "raw": True, "options": {"temperature": 0, "num_predict": 8}}
    whole = client.generate(**question)
    assert "Paris" in whole.response and len(whole.context) == whole.prompt_eval_count + whole.eval_count
    assert "".join(chunk.response for chunk in client.generate(stream=True, **question)) == whole.response
    answered = client.generate(model=MODEL, system=SYSTEM["content"], prompt=FIRST["content"], options=OPTIONS)
    assert answered.response == client.chat(model=MODEL, messages=[SYSTEM, FIRST], options=OPTIONS).message.content


def test_form(client):
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"], "additionalProperties": False}
    answer = client.chat(model=MODEL, messages=[FIRST], format=schema, options={"temperature": 0, "num_predict": 60})
    assert list(json.loads(answer.message.content)) == ["city"]
    assert isinstance(json.loads(client.generate(model=MODEL, prompt="A city", format="json", options={"num_predict": 60}).response), dict)


def test_models(client):
    names = [model.model for model in client.list().models]
    assert f"{MODEL}:latest" in names and "embedder:latest" in names
    assert client.generate(model=f"{MODEL}:latest", prompt="").done_reason == "load"
    assert f"{MODEL}:latest" in [model.model for model in client.ps().models]
    shown = client.show(MODEL)
    assert "completion" in shown.capabilities and shown.modelinfo["llama-cpp.context_length"] == 1024


def test_embed(client):
    several = client.embed(model="embedder", input=["Paris", "The capital of France"])
    assert [len(vector) for vector in several.embeddings] == [576, 576] and several.prompt_eval_count > 2
    assert client.embeddings(model="embedder", prompt="Paris").embedding == several.embeddings[0]


def test_tools(client):
    answer = client.chat(model=MODEL, messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=[TOOL], options=OPTIONS)
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}]}
    messages = [{"role": "user", "content": "What is the weather in Paris?"}, called, {"role": "tool", "content": "rain", "tool_name": "weather"}]
    assert answer.done and client.chat(model=MODEL, messages=messages, tools=[TOOL], options=OPTIONS).done


def test_errors_say_what_was_wrong(client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model="smolm2", messages=[FIRST])
    assert caught.value.status_code == 404 and "did you mean `smollm2`" in caught.value.error
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model=MODEL, messages=[FIRST], options={"temperature": -1}, stream=False)
    assert caught.value.status_code == 400 and "temperature is -1" in caught.value.error


def test_langchain():
    chat = ChatOllama(model=MODEL, base_url=HOST, temperature=0, num_predict=40, validate_model_on_init=True)
    messages = [("system", SYSTEM["content"]), ("human", FIRST["content"])]
    whole = chat.invoke(messages)
    assert "Paris" in whole.content and whole.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.content for chunk in chat.stream(messages)) == whole.content
    assert len(OllamaEmbeddings(model="embedder", base_url=HOST).embed_query("Paris")) == 576
