"""Each client holds one conversation, whole and streamed, and hears the same both ways."""

import asyncio
import json
import subprocess
import sys

import litellm
import openai
import pytest
from talk import BASE_URL, KEY, MODEL, SAMPLING, converse


def check(whole, streamed):
    assert converse(whole) == converse(streamed)


def test_openai():
    client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)

    def whole(messages):
        answer = client.chat.completions.create(model=MODEL, messages=messages, **SAMPLING)
        assert answer.choices[0].finish_reason in ("stop", "length")
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        return answer.choices[0].message.content

    def streamed(messages):
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(model=MODEL, messages=messages, stream=True, stream_options=options, **SAMPLING))
        assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)

    check(whole, streamed)


def test_openai_async():
    async def ask(messages, stream):
        async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY) as client:
            answer = await client.chat.completions.create(model=MODEL, messages=messages, stream=stream, **SAMPLING)
            if not stream:
                return answer.choices[0].message.content
            return "".join([choice.delta.content or "" async for chunk in answer for choice in chunk.choices])

    check(lambda messages: asyncio.run(ask(messages, False)), lambda messages: asyncio.run(ask(messages, True)))


def test_openai_completions():
    client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)
    question = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**question)
    streamed = "".join(choice.text for chunk in client.completions.create(stream=True, **question) for choice in chunk.choices)
    assert "Paris" in whole.choices[0].text and whole.choices[0].text == streamed


def test_openai_errors_are_typed():
    client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], temperature=-1)
    assert caught.value.param == "temperature" and caught.value.code == "invalid_request"
    with pytest.raises(openai.NotFoundError) as caught:
        client.post("/no-such-thing", body={}, cast_to=object)
    assert caught.value.code == "not_found"


def test_openai_models():
    client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def test_openai_structured_output():
    from pydantic import BaseModel

    class City(BaseModel):
        name: str
        country: str

    client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)
    messages = [{"role": "user", "content": "Name a city in France and its country."}]
    answer = client.chat.completions.parse(model=MODEL, messages=messages, response_format=City, temperature=0, max_tokens=100)
    assert isinstance(answer.choices[0].message.parsed, City)


def test_litellm():
    def ask(messages, **keywords):
        return litellm.completion(f"openai/{MODEL}", messages, api_base=BASE_URL, api_key=KEY, **SAMPLING, **keywords)

    def streamed(messages):
        return "".join(choice.delta.content or "" for chunk in ask(messages, stream=True) for choice in chunk.choices)

    check(lambda messages: ask(messages).choices[0].message.content, streamed)


def test_llm(tmp_path, monkeypatch):
    """The command `llm`, with a model of one's own; `-c` goes on with the conversation."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    model = {"model_id": "ours", "model_name": MODEL, "api_base": BASE_URL, "api_key_name": "ours"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    (tmp_path / "keys.json").write_text(json.dumps({"ours": KEY}))
    options = [word for name, value in SAMPLING.items() for word in ("-o", name, str(value))]

    def conversation(*stream):
        def ask(messages):
            system = ["-s", messages[0]["content"]] if len(messages) == 2 else ["-c"]
            command = [sys.executable, "-m", "llm", "-m", "ours", *stream, *options, *system, messages[-1]["content"]]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.rstrip("\n")

        return ask

    check(conversation("--no-stream"), conversation())
