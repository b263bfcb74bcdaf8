#!/bin/sh
# Provides one of cargo's programs, such as cargo-deb: cargo-tool.sh NAME [OPTION OF CARGO INSTALL...]
# One that is neither on the PATH nor in target/tools/bin is installed there, which takes minutes.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
name=$1
shift
if ! command -v "$name" >/dev/null && [ ! -x "$target/tools/bin/$name" ]; then
    echo "installing $name into $target/tools" >&2
    cargo install --quiet --locked --root "$target/tools" "$name" "$@"
fi
