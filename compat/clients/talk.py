"""What every client of the clients suite says, and what it must be told."""

import os

BASE_URL = os.environ["COMPAT_BASE_URL"]
MODEL = os.environ["COMPAT_MODEL"]
KEY = "none"

SYSTEM = {"role": "system", "content": "You answer in one short sentence."}
FIRST = {"role": "user", "content": "What is the capital of France?"}
SECOND = {"role": "user", "content": "And which river flows through it?"}
# Greedy, so that the whole answer and the streamed one can be compared.
SAMPLING = {"temperature": 0, "max_tokens": 40}


def converse(ask):
    """Two turns; `ask` takes messages and returns the answer's text."""
    first = ask([SYSTEM, FIRST])
    assert "Paris" in first, first
    second = ask([SYSTEM, FIRST, {"role": "assistant", "content": first}, SECOND])
    assert second.strip(), "an empty answer"
    return [first, second]
