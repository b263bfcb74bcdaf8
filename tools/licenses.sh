#!/bin/sh
# Writes what a package says of others' work in it: licenses.sh [FOLDER], or target/licenses.
#
# THIRD-PARTY-LICENSES has the texts (cargo-about), PROGRAM.cdx.json what each program is made of, as CycloneDX (cargo-cyclonedx). Both tools are
# installed into target/tools where they aren't there, and ask nothing but the crates as cargo has them.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
folder=${1:-$target/licenses}
PATH=$PATH:$target/tools/bin
tools/cargo-tool.sh cargo-about --features cli
tools/cargo-tool.sh cargo-cyclonedx
mkdir -p "$folder"

# All of them, also those for other systems: the rest works without a network.
cargo fetch --quiet --locked
cargo about generate --workspace --frozen --fail --config dist/licenses/about.toml --output-file "$folder/THIRD-PARTY-LICENSES" \
    dist/licenses/about.hbs

# It writes beside each Cargo.toml, with this folder's path in it, which is nobody's business.
cargo cyclonedx --quiet --format json --describe binaries --target "$(rustc -vV | sed -n 's/^host: //p')"
find . -path ./target -prune -o -name '*.cdx.json' -print | while read -r file; do
    case $file in
    ./daemon/minivaultd* | ./cli/minivault*) sed "s|$PWD|/minivault|g" "$file" >"$folder/$(basename "$file" | sed 's/_bin//')" ;;
    esac
    rm "$file"
done
ls "$folder/THIRD-PARTY-LICENSES" "$folder/minivaultd.cdx.json" "$folder/minivault.cdx.json"
