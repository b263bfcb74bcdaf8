"""Runs the task with lm-evaluation-harness and compares each log-likelihood with Transformers'."""

import json
import shutil
from pathlib import Path

from outcome import Outcome

HERE = Path(__file__).resolve().parent
# How far a log-likelihood may be from Transformers'.
TOLERANCE = 1e-3


def run(command, python, model, url, folder):
    """`command` runs one; `model` is the folder that the daemon at `url` serves, where the tokenizer is, too."""
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    arguments = {"model": "tarotble", "base_url": f"{url}/v1/completions", "tokenizer_backend": "huggingface", "tokenizer": model, "max_length": 64}
    words = [python, "-m", "lm_eval", "run", "--model", "local-completions", "--tasks", "everyday", "--include_path", HERE, "--batch_size", "4"]
    words += ["--model_args", ",".join(f"{key}={value}" for key, value in arguments.items()), "--log_samples", "--output_path", results]
    command(words)
    found = list(results.rglob("samples_everyday_*.jsonl"))
    if not found:
        return Outcome(failed=[f"lm-eval wrote no results; see {folder / 'output.txt'}"])
    samples = [json.loads(line) for line in found[0].read_text().splitlines()]
    return compare({sample["doc_id"]: sample for sample in samples}, json.loads((HERE / "expected.json").read_text()))


def compare(samples, expected):
    outcome = Outcome()
    for number, row in enumerate(expected):
        seen = [float(answer[0]) for answer in samples[number]["filtered_resps"]] if number in samples else []
        if len(seen) == len(row) and all(abs(a - b) <= TOLERANCE for a, b in zip(seen, row)):
            outcome.passed += 1
        else:
            outcome.failed.append(f"question {number}: {seen}, and Transformers says {row}")
    return outcome
