#!/usr/bin/env python3
"""Random GPT-2 models and what Transformers computes with them; needs torch and transformers, and no network.

    python3 engines/tests/data/make_gpt2_reference.py tiny engines/tests/data/gpt2-tiny
        rebuilds the committed model that `cargo test` compares with
    python3 engines/tests/data/make_gpt2_reference.py distilgpt2-shaped FOLDER
        DistilGPT2's shape (82 M parameters, 330 MB); then
        MINIVAULT_TEST_DISTILGPT2_SHAPED=FOLDER cargo test -p minivault-engines --no-default-features --test gpt2

Each folder gets config.json, tokenizer.json and model.safetensors, and beside them reference.json (prompts and greedy ids). The
tiny one also gets reference.safetensors with the logits after each token of the first prompt.
"""

import argparse
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel

# `spread` is the deviation of the weights. The usual 0.02 leaves all logits nearly equal, and then rounding would choose the tokens.
SHAPES = {
    "tiny": dict(
        config=dict(vocab_size=264, n_positions=48, n_embd=32, n_layer=2, n_head=4),
        spread=0.3, seed=20240611, prompts=[[40, 73, 77, 77, 80, 13, 263, 1, 258], [9]], greedy=30, logits=True,
    ),
    "distilgpt2-shaped": dict(
        config=dict(vocab_size=50257, n_positions=1024, n_embd=768, n_layer=6, n_head=12),
        spread=0.06, seed=20240612, prompts=[[15496, 995, 11, 340, 338, 402, 11571, 12, 17, 0]], greedy=50, logits=False,
    ),
}  # fmt: skip
END_OF_TEXT = "<|endoftext|>"
# Enough merges to have tokens of several bytes; the last ones begin with a space, as most of GPT-2's own do.
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("o", "r"), ("Ġ", "w"), ("Ġw", "or")]


def tokenizer() -> Tokenizer:
    """Byte-level BPE as GPT-2 has it, with the control token first, 256 bytes, and a handful of merges: 264 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spellings = [END_OF_TEXT, *alphabet, *(left + right for left, right in MERGES)]
    result = Tokenizer(models.BPE(vocab={spelling: i for i, spelling in enumerate(spellings)}, merges=MERGES))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([AddedToken(END_OF_TEXT, normalized=False)])
    # Loaders must not obey it: a cut prompt would be answered as if it were the whole.
    result.enable_truncation(max_length=16)
    return result


def network(shape: dict) -> GPT2LMHeadModel:
    torch.manual_seed(shape["seed"])
    config = GPT2Config(**shape["config"], bos_token_id=0, eos_token_id=0, architectures=["GPT2LMHeadModel"])
    result = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            # Biases and norms too: at their initial zeros and ones a mistake with them would not show.
            centre = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            parameter.normal_(centre, shape["spread"])
    return result


def greedy(model: GPT2LMHeadModel, prompt: list[int], count: int) -> tuple[list[int], float]:
    """The likeliest ids one by one, never ending early, and the smallest lead that one of them had over the next likeliest."""
    ids, lead = list(prompt), float("inf")
    with torch.no_grad():
        for _ in range(count):
            best = model(torch.tensor([ids])).logits[0, -1].topk(2)
            lead = min(lead, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
    return ids[len(prompt) :], lead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    shape, folder = SHAPES[arguments.shape], arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    model = network(shape)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"), pretty=False)

    cases = []
    for prompt in shape["prompts"]:
        ids, lead = greedy(model, prompt, shape["greedy"])
        if lead < 1e-3:
            raise SystemExit(f"two tokens are only {lead} apart: rounding may choose between them; take another seed")
        cases.append({"prompt": prompt, "greedy": ids})
    reference = {"command": f"make_gpt2_reference.py {arguments.shape}", "torch": torch.__version__, "cases": cases}
    (folder / "reference.json").write_text(json.dumps(reference) + "\n")
    if shape["logits"]:
        with torch.no_grad():
            logits = model(torch.tensor([shape["prompts"][0]])).logits[0]
        save_file({"logits": logits.contiguous()}, folder / "reference.safetensors")


if __name__ == "__main__":
    main()
