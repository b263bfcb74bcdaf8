#!/bin/sh
# Makes a Debian package of what was built with the profile `dist`: package.sh [TARGET]
#
# The package has both programs, their man pages and completions, a configuration in /etc/minivault, hardened units for systemd, and what there is
# to say of others' work in it (tools/licenses.sh). cargo-deb is installed into target/tools where it isn't there.
set -eu
cd "$(dirname "$0")/.."
target=${1:-target}
parts=$target/package
PATH=$PATH:$PWD/target/tools/bin
tools/cargo-tool.sh cargo-deb

rm -rf "$parts"
mkdir -p "$parts/man" "$parts/completions"
for program in minivault minivaultd; do
    "$target/dist/$program" man "$parts/man"
    "$target/dist/$program" completions bash >"$parts/completions/$program"
    "$target/dist/$program" completions zsh >"$parts/completions/_$program"
    "$target/dist/$program" completions fish >"$parts/completions/$program.fish"
done
gzip -9n "$parts"/man/*
tools/service-config.sh >"$parts/config.toml"
tools/licenses.sh "$parts/licenses" >/dev/null
cargo deb --quiet --no-build --no-strip --package minivault-daemon --profile dist --output "$parts/"
ls "$parts"/*.deb
