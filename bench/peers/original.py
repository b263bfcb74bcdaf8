"""The Python original that MiniVault descends from, written again from what its README told: original.py MODEL PORT THREADS

FastAPI and Transformers. `/generate` uses the library's `generate`; `/stream-generate` computes the whole sequence again for each token.
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

folder, port, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.set_grad_enabled(False)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
model = GPT2LMHeadModel.from_pretrained(folder).eval()
app = FastAPI()


class Body(BaseModel):
    prompt: str
    max_tokens: int = 100


@app.get("/ready")
def ready():
    return {"status": "ready"}


@app.post("/generate")
def generate(body: Body):
    ids = tokenizer(body.prompt, return_tensors="pt").input_ids
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=body.max_tokens, do_sample=False, pad_token_id=50256)
    return {"response": tokenizer.decode(answer[0, ids.shape[1] :])}


@app.post("/stream-generate")
def stream_generate(body: Body):
    def tokens():
        ids = tokenizer(body.prompt, return_tensors="pt").input_ids
        for _ in range(body.max_tokens):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
            yield f"data: {tokenizer.decode(ids[0, -1])}\n\n"

    return StreamingResponse(tokens(), media_type="text/event-stream")


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
