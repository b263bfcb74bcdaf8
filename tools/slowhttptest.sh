#!/bin/sh
# Provides slowhttptest for `make faults`, as Debian's package where this script may use apt. Where it can't be had it says why; the daemon is then
# attacked by slow clients of our own alone.
set -eu

has() { command -v "$1" >/dev/null 2>&1; }
may_use_apt() {
    [ "${MINIVAULT_SETUP:-}" != pip ] && [ -e /etc/debian_version ] && has apt-get || return 1
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slowhttptest </dev/null; }

has slowhttptest && exit 0
if may_use_apt; then
    echo "faults: installing slowhttptest by apt" >&2
    log=$(mktemp)
    { install || { as_root apt-get update -qq && install; }; } >"$log" 2>&1 || tail -n 3 "$log" >&2
    rm -f "$log"
    has slowhttptest || echo "faults: apt couldn't install slowhttptest; slow clients of our own do what it does"
else
    echo "faults: slowhttptest can't be installed without root (apt-get install slowhttptest); slow clients of our own do what it does"
fi
