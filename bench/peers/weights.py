"""The weights that every side of the benchmark computes with, in each side's own format.

    weights.py random FOLDER TOKENIZER   DistilGPT2's shape with random numbers, as Hugging Face lays a model out
    weights.py gguf FOLDER FILE          the same numbers for llama.cpp, in f32
    weights.py ctranslate2 FOLDER INTO   the same numbers for CTranslate2, in f32
    weights.py recite FOLDER TEXT        the same shape in FOLDER/../recite-TEXT, which says that text by heart

A step's work doesn't depend on the numbers, so random ones measure what the real ones would. The scales keep the logits from being
degenerate. Nothing ends a text: config.json names no end token, and tokens that are not whole characters can't win (see `quiet`).
"""

import json
import pathlib
import shutil
import sys

import numpy as np

SHAPE = {"n_layer": 6, "n_head": 12, "n_embd": 768, "n_positions": 1024, "n_ctx": 1024, "vocab_size": 50257}


def main():
    what, folder, other = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    {"random": write_random, "gguf": write_gguf, "ctranslate2": write_ctranslate2, "recite": write_reciting}[what](folder, other)


def write_random(folder, tokenizer):
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    width, random = SHAPE["n_embd"], np.random.default_rng(1234)

    def normal(shape, scale, mean=0.0):
        return mean + scale * random.standard_normal(shape, dtype=np.float32)

    tensors = {"wte.weight": normal((SHAPE["vocab_size"], width), 0.14), "wpe.weight": normal((SHAPE["n_positions"], width), 0.12)}
    tensors["wte.weight"][quiet(folder)] *= 1e-3

    def norm(name):
        tensors[name + ".weight"], tensors[name + ".bias"] = normal(width, 0.3, 1.0), normal(width, 0.1)

    def linear(name, inputs, outputs):
        tensors[name + ".weight"], tensors[name + ".bias"] = normal((inputs, outputs), 0.14), normal(outputs, 0.1)

    norm("ln_f")
    for layer in range(SHAPE["n_layer"]):
        block = f"h.{layer}."
        norm(block + "ln_1")
        norm(block + "ln_2")
        linear(block + "attn.c_attn", width, 3 * width)
        linear(block + "attn.c_proj", width, width)
        linear(block + "mlp.c_fc", width, 4 * width)
        linear(block + "mlp.c_proj", 4 * width, width)
    save_file({f"transformer.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    (folder / "config.json").write_text(json.dumps(config | SHAPE, indent=1))


def quiet(folder):
    """Tokens that a greedy choice must never take, so that each step brings text: the end of text, and parts of characters."""
    readable = set(range(33, 127)) | set(range(161, 173)) | set(range(174, 256))
    others = [byte for byte in range(256) if byte not in readable]
    byte_of = {chr(byte): byte for byte in readable} | {chr(256 + place): byte for place, byte in enumerate(others)}

    def is_text(token):
        try:
            return not bytes(byte_of[character] for character in token).decode().startswith("<|")
        except (KeyError, UnicodeDecodeError):
            return False

    return [index for index, token in enumerate(vocabulary(folder)) if not is_text(token)]


def vocabulary(folder):
    """Tokens as the tokenizer spells them, by their number."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = dict(tokenizer["model"]["vocab"])
    tokens.update({token["content"]: token["id"] for token in tokenizer["added_tokens"]})
    return sorted(tokens, key=tokens.get)


def read(folder):
    """config.json and the tensors, named without the prefix."""
    from safetensors.numpy import load_file

    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    return json.loads((folder / "config.json").read_text()), tensors


def write_gguf(folder, file):
    import gguf

    config, tensors = read(folder)
    tokens = vocabulary(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer = gguf.GGUFWriter(file, "gpt2")
    writer.add_name(folder.name)
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]])
    end = tokens.index("<|endoftext|>")
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)

    names = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    for layer in range(config["n_layer"]):
        block = {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up"}
        for theirs, ours in (block | {"mlp.c_proj": "ffn_down"}).items():
            names[f"h.{layer}.{theirs}"] = f"blk.{layer}.{ours}"
    for theirs, ours in names.items():
        for part in ("weight", "bias"):
            if (tensor := tensors.get(f"{theirs}.{part}")) is not None:
                # Conv1D keeps [inputs, outputs]; llama.cpp wants [outputs, inputs].
                turned = tensor.T if part == "weight" and theirs.startswith("h.") and ".ln_" not in theirs else tensor
                writer.add_tensor(f"{ours}.{part}", np.ascontiguousarray(turned, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_ctranslate2(folder, into):
    from ctranslate2.specs import common_spec, transformer_spec

    config, tensors = read(folder)
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        config["n_layer"], config["n_head"], pre_norm=True, activation=common_spec.Activation.GELUTanh
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = tensors["wte.weight"]
    decoder.position_encodings.encodings = tensors["wpe.weight"]

    def norm(target, name):
        target.gamma, target.beta = tensors[name + ".weight"], tensors[name + ".bias"]

    def linear(target, name):
        target.weight, target.bias = np.ascontiguousarray(tensors[name + ".weight"].T), tensors[name + ".bias"]

    norm(decoder.layer_norm, "ln_f")
    for layer, target in enumerate(decoder.layer):
        block = f"h.{layer}."
        norm(target.self_attention.layer_norm, block + "ln_1")
        linear(target.self_attention.linear[0], block + "attn.c_attn")
        linear(target.self_attention.linear[1], block + "attn.c_proj")
        norm(target.ffn.layer_norm, block + "ln_2")
        linear(target.ffn.linear_0, block + "mlp.c_fc")
        linear(target.ffn.linear_1, block + "mlp.c_proj")
    spec.register_vocabulary(vocabulary(folder))
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "<|endoftext|>"
    spec.validate()
    spec.optimize(quantization=None)
    into.mkdir(parents=True, exist_ok=True)
    spec.save(str(into))


def write_reciting(folder, text):
    """Random weights that are made to say a text: what follows each place is written into the place's own embedding, and the layers
    compute all they do but add next to nothing. So it costs what the model costs, and repeats itself as that text does."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    into = folder.parent / f"recite-{text.stem}"
    into.mkdir(exist_ok=True)
    config, tensors = read(folder)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text.read_text(encoding="utf-8")).ids
    places = config["n_positions"]
    following = [tokens[(place + 1) % len(tokens)] for place in range(places)]
    tensors["wpe.weight"] = 8 * tensors["wte.weight"][following]
    for name in tensors:
        if ".c_proj." in name:
            tensors[name] = tensors[name] * np.float32(1e-3)
    save_file({f"transformer.{name}": tensor for name, tensor in tensors.items()}, into / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(folder / name, into / name)


main()
