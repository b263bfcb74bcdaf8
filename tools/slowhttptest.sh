#!/bin/sh
# Provides slowhttptest for `make faults`, as Debian's package where this script may use apt. Where it can't be had it says why; the daemon is then
# attacked by slow clients of our own alone.
set -eu
cd "$(dirname "$0")/.."
. tools/apt.sh

has slowhttptest && exit 0
if may_use_apt; then
    echo "faults: installing slowhttptest by apt" >&2
    log=$(mktemp)
    apt_install "$log" slowhttptest || tail -n 3 "$log" >&2
    rm -f "$log"
    has slowhttptest || echo "faults: apt couldn't install slowhttptest; slow clients of our own do what it does"
else
    echo "faults: slowhttptest can't be installed without root (apt-get install slowhttptest); slow clients of our own do what it does"
fi
