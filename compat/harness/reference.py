#!/usr/bin/env python3
"""What Transformers makes of questions.jsonl: the log-likelihood of each choice after its question.

    reference.py MODEL_FOLDER >expected.json        needs torch, transformers and tokenizers, and no network
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

folder = Path(sys.argv[1])
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
model = GPT2LMHeadModel.from_pretrained(folder).eval()


def log_likelihood(question, choice):
    """The sum over the tokens that the choice adds, as the harness encodes them: together with the question."""
    start = len(tokenizer.encode(question).ids)
    tokens = torch.tensor([tokenizer.encode(f"{question} {choice}").ids])
    with torch.no_grad():
        log_probabilities = model(tokens).logits[0].log_softmax(-1)
    return sum(log_probabilities[place - 1, tokens[0, place]].item() for place in range(start, tokens.shape[1]))


questions = [json.loads(line) for line in (Path(__file__).parent / "questions.jsonl").read_text().splitlines()]
answers = [[round(log_likelihood(each["question"], choice), 5) for choice in each["choices"]] for each in questions]
print("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in answers) + "\n]")
