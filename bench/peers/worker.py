"""Measures one library on one model, turn by turn: worker.py LIBRARY MODEL DTYPE THREADS

Says {"ready": true} once the model is loaded. Then each line of stdin is a case, {"sequences", "before", "steps"}: `steps` greedy steps
of so many sequences, each after `before` tokens; with 0 steps, the `before` tokens themselves. The answer is {"tokens_per_second"}.
Both libraries are asked for whole generations, as a program would: what `steps` more tokens take is the difference of two of them.
"""

import json
import sys
import time

VOCABULARY = 50257


def ctranslate2(model, dtype, threads):
    import ctranslate2

    compute_type = {"f32": "float32", "bf16": "bfloat16", "q8": "int8"}[dtype]
    generator = ctranslate2.Generator(model, device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads)
    tokens = json.load(open(f"{model}/vocabulary.json", encoding="utf-8"))

    def generate(prompts, count):
        prompts = [[tokens[token] for token in prompt] for prompt in prompts]
        begin = time.perf_counter()
        generator.generate_batch(prompts, max_length=count, min_length=count, include_prompt_in_result=False, end_token=[])
        return time.perf_counter() - begin

    return generate


def transformers(model, dtype, threads):
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    network = GPT2LMHeadModel.from_pretrained(model, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype]).eval()

    def generate(prompts, count):
        prompts = torch.tensor(prompts)
        mask = torch.ones_like(prompts)
        begin = time.perf_counter()
        network.generate(prompts, attention_mask=mask, max_new_tokens=count, do_sample=False, pad_token_id=50256)
        return time.perf_counter() - begin

    return generate


def measure(generate, sequences, before, steps):
    # Any tokens do: a step's work doesn't depend on which they are.
    prompts = [[(sequence * 7919 + place * 104729) % VOCABULARY for place in range(before)] for sequence in range(sequences)]
    first = generate(prompts, 1)
    if steps == 0:
        return sequences * before / first
    return sequences * steps / (generate(prompts, 1 + steps) - first)


def main():
    library, model, dtype, threads = sys.argv[1:]
    generate = {"ctranslate2": ctranslate2, "transformers": transformers}[library](model, dtype, int(threads))
    generate([[1, 2, 3]], 4)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"tokens_per_second": measure(generate, **json.loads(line))}), flush=True)


main()
