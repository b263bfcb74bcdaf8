#!/bin/sh
# Looks at the dependencies: their licences, where they come from (deny.toml), and what is known to be wrong with them.
#
# cargo deny and cargo audit do it where they are installed; what is missing, or can't be had, is said and skipped. Known vulnerabilities stand in
# RustSec's database, which is fetched from GitHub (MINIVAULT_ADVISORIES names another place). What either of them finds is a failure.
set -eu
cd "$(dirname "$0")/.."
. tools/apt.sh
target=${CARGO_TARGET_DIR:-target}
PATH=$PATH:$target/tools/bin
advisories=${MINIVAULT_ADVISORIES:-https://github.com/RustSec/advisory-db}
database=$target/advisory-db

skip() { echo "skipped: $*"; }
run() {
    echo "$*"
    "$@"
}
# fetch LOG COMMAND...: nobody is asked for a password, and no silent network waited for.
fetch() {
    fetch_log=$1
    shift
    GIT_TERMINAL_PROMPT=0 timeout 120 "$@" </dev/null >"$fetch_log" 2>&1
}
why() { grep -v '^ *$' "$1" | tail -n 1; }

mkdir -p "$target"
log=$target/advisories.log
if has cargo-deny; then
    run cargo deny --log-level error check bans licenses sources
    if fetch "$log" cargo deny fetch db; then
        run cargo deny --offline --log-level error check advisories
    else
        skip "cargo deny check advisories: the database of advisories can't be had: $(why "$log")"
    fi
else
    skip "cargo deny is not installed (cargo install cargo-deny --locked)"
fi
if has cargo-audit; then
    # What was fetched earlier is better than nothing, unless it can be had anew.
    if fetch "$log" git clone --quiet --depth 1 "$advisories" "$database.new"; then
        rm -rf "$database"
        mv "$database.new" "$database"
    elif [ -d "$database" ]; then
        echo "cargo audit: the database of advisories can't be had, so one of $(git -C "$database" log -1 --format=%cs) is asked: $(why "$log")"
    fi
    rm -rf "$database.new"
    if [ -d "$database" ]; then
        run cargo audit --quiet --db "$database" --no-fetch --stale
    else
        skip "cargo audit: the database of advisories can't be had: $(why "$log")"
    fi
else
    skip "cargo audit is not installed (cargo install cargo-audit --locked)"
fi
