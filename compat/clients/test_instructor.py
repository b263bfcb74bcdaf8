"""instructor holds one conversation in objects, whole and streamed."""

import instructor
import openai
from pydantic import BaseModel
from talk import BASE_URL, KEY, MODEL


class City(BaseModel):
    name: str
    country: str


def test_instructor():
    client = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=KEY), mode=instructor.Mode.JSON_SCHEMA)
    messages = [{"role": "user", "content": "Paris is the capital of France. Which city is it, in which country?"}]
    question = {"model": MODEL, "temperature": 0, "max_tokens": 100, "max_retries": 0}
    whole = client.chat.completions.create(response_model=City, messages=messages, **question)
    *_, streamed = client.chat.completions.create_partial(response_model=City, messages=messages, **question)
    assert whole.name and whole.country
    assert streamed.model_dump() == whole.model_dump()
    messages += [{"role": "assistant", "content": whole.model_dump_json()}, {"role": "user", "content": "And one in Italy?"}]
    second = client.chat.completions.create(response_model=City, messages=messages, **question)
    assert second.name
