# MiniVault's commands; `make help` lists them. Cargo is always asked for the whole workspace and in the one profile `dev`: with a
# part of it features would be chosen differently, and candle or llama.cpp built a second time.

SHELL := /bin/sh
TARGET := $(or $(CARGO_TARGET_DIR),target)
ENV := . target/tools/env.sh
MODELS := target/models/env.sh
# A Python with torch and transformers for `make reference`; without one it makes its own, 6 GB.
PYTHON_REFERENCE ?= target/reference/venv/bin/python3
# Where the benchmark keeps its peers, models and results.
BENCH ?= target/bench
# Where the suites of others are installed.
COMPAT ?= target/compat
REFERENCE := $(CURDIR)/target/reference/distilgpt2-shaped

.DEFAULT_GOAL := help
.PHONY: help setup build run pull check test test-build test-models test-page test-schemas screenshots reference bench bench-quick bench-publish compat torture faults fuzz licenses package clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: ## install what building needs (cmake, libclang), by apt or by pip
	@tools/setup.sh

build: setup ## build minivaultd and minivault
	@$(ENV) && cargo build --workspace

run: build ## fetch a model and start the daemon; ARGS="--engine smollm2" hands arguments on
	@$(ENV) && exec "$(TARGET)/debug/minivaultd" $(ARGS)

pull: build ## fetch a model ahead of time; ARGS=smollm2 names the engine
	@$(ENV) && "$(TARGET)/debug/minivaultd" pull $(ARGS)

check: setup ## formatting, clippy without warnings, and cargo deny and cargo audit where they are installed
	cargo fmt --all --check
	@$(ENV) && set -x && cargo clippy --workspace --all-targets --quiet -- -D warnings
	@tools/check-dependencies.sh

test: check test-models ## check, then all tests; real models are fetched once
	@$(ENV) && . ./$(MODELS) && set -x && cargo test --workspace --no-fail-fast $(ARGS)
	@$(if $(ARGS),:,. ./$(MODELS) && tools/test-page.sh "$(TARGET)/debug/minivaultd")

test-build: setup
	@$(ENV) && set -x && cargo test --workspace --no-run --quiet

# With the daemon that the tests have built anyway.
test-models: test-build
	@$(ENV) && tools/test-models.sh "$(TARGET)/debug/minivaultd" $(MODELS)

test-page: test-models ## the page in a real browser (installs chromium and playwright); ARGS="-k vault"
	@. ./$(MODELS) && tools/test-page.sh "$(TARGET)/debug/minivaultd" $(ARGS)

screenshots: build ## take the README's pictures anew (installs chromium and playwright; some 5 minutes); ARGS="chat top"
	@$(ENV) && tools/test-models.sh "$(TARGET)/debug/minivaultd" $(MODELS) && . ./$(MODELS) && \
		tools/screenshots.sh "$(TARGET)/debug/minivaultd" "$(TARGET)/debug/minivault" $(ARGS)

test-schemas: test-models ## 200 random JSON schemas on SmolLM2, of which `make test` takes 20
	@$(ENV) && . ./$(MODELS) && export MINIVAULT_TEST_SCHEMAS=200 && set -x && \
		cargo test --workspace --test constraint -- --nocapture smollm2

torture: setup ## kill the daemon 500 times under load and look for lost lines, then 100,000 requests; ROUNDS=50 REQUESTS=1000 SEED=1
	@$(ENV) && MINIVAULT_TORTURE_ROUNDS=$(or $(ROUNDS),500) MINIVAULT_TORTURE_REQUESTS=$(or $(REQUESTS),100000) \
		$(if $(SEED),MINIVAULT_TORTURE_SEED=$(SEED)) cargo test --workspace --test torture

faults: test-models ## all that strangers and bad luck can do to a daemon, one table (some 40 minutes); ONLY=soak,slow
	@tools/slowhttptest.sh
	@$(ENV) && . ./$(MODELS) && MINIVAULT_FAULTS_FULL=1 $(if $(ONLY),MINIVAULT_FAULTS_ONLY=$(ONLY)) cargo test --workspace --test faults

# What a target fails on is kept below target/fuzz-found. With cargo-fuzz there is libFuzzer, too: `cd fuzz && cargo +nightly fuzz run -s none gguf`.
fuzz: setup ## give readers of files, requests and streams anything at all, so long each, one table; SECONDS=600 ONLY=gguf,log SEED=1
	@$(ENV) && MINIVAULT_FUZZ_SECONDS=$(or $(SECONDS),600) $(if $(ONLY),MINIVAULT_FUZZ_ONLY=$(ONLY)) \
		$(if $(SEED),MINIVAULT_FUZZ_SEED=$(SEED)) cargo test --workspace --test fuzz

licenses: ## others' licences and what the programs are made of (CycloneDX), in target/licenses (installs cargo-about and cargo-cyclonedx)
	@tools/licenses.sh

# It goes to other machines, so llama.cpp is built for every processor with AVX2 and not for this one.
package: setup ## a Debian package of both programs, optimised as far as it goes (installs cargo-deb and those; LTO takes a while)
	@$(ENV) && unset GGML_AVX512 GGML_AVX512_VBMI GGML_AVX512_VNNI GGML_AVX512_BF16 && set -x && \
		cargo build --workspace --bin minivaultd --bin minivault --profile dist && tools/package.sh $(TARGET)

reference: setup ## compare GPT-2 with Transformers on a model of DistilGPT2's shape (installs PyTorch: 6 GB)
	@if [ "$(PYTHON_REFERENCE)" = target/reference/venv/bin/python3 ] && [ ! -e target/reference/venv/done ]; then \
		$(ENV) && python3 -m venv target/reference/venv && $(PYTHON_REFERENCE) -m pip install --quiet torch transformers && \
		touch target/reference/venv/done; fi
	@[ -e "$(REFERENCE)/reference.json" ] || \
		"$(PYTHON_REFERENCE)" engines/tests/data/make_gpt2_reference.py distilgpt2-shaped "$(REFERENCE)"
	@$(ENV) && export MINIVAULT_TEST_DISTILGPT2_SHAPED="$(REFERENCE)" && set -x && \
		cargo test --workspace --test gpt2 -- a_model_of_distilgpt2s_shape

# The peers take some GB, and what is installed is not installed again; `bench/README.md` tells how to measure parts.
bench: build ## measure beside llama.cpp, CTranslate2 and Transformers (installs them); ARGS="--only decode --dtype q8"
	@$(ENV) && bench/install.sh $(BENCH) "$(TARGET)/debug/minivaultd"
	@"$(TARGET)/debug/minivault-bench" measure --folder $(BENCH) --minivaultd "$(TARGET)/debug/minivaultd" $(ARGS)

bench-quick: build ## five minutes of it, with the peers that are there
	@$(ENV) && bench/install.sh $(BENCH) "$(TARGET)/debug/minivaultd" models
	@"$(TARGET)/debug/minivault-bench" measure --quick --folder $(BENCH) --minivaultd "$(TARGET)/debug/minivaultd" $(ARGS)

bench-publish: build ## put the last measurement into the README and bench/results
	@"$(TARGET)/debug/minivault-bench" publish --folder $(BENCH)

# Python leaves no caches beside our own scripts.
compat: build ## run the suites of others against this daemon (installs them); ARGS="--only openai-python"
	@$(ENV) && compat/install.sh $(COMPAT) && PYTHONDONTWRITEBYTECODE=1 $(COMPAT)/venv/bin/python compat/run.py \
		--folder $(COMPAT) --minivaultd "$(TARGET)/debug/minivaultd" $(ARGS)

clean: ## remove all that was built, installed or fetched into target/
	cargo clean
	rm -rf target
