#!/bin/sh
# Tests the page with a real browser: test-page.sh MINIVAULTD [PYTEST ARGUMENT...].
#
# Playwright comes by pip into target/web; the browser is the system's Chromium, which Debian and its kin install as a package where this
# script may use apt. Where either can't be had it says why and skips; that is no failure.
set -eu
cd "$(dirname "$0")/.."
minivaultd=$1
shift
folder=target/web
python=$folder/venv/bin/python
mkdir -p "$folder"

skip() {
    echo "skipped: the page's tests: $*"
    exit 0
}
has() { command -v "$1" >/dev/null 2>&1; }
browser() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }
may_use_apt() {
    [ "${MINIVAULT_SETUP:-}" != pip ] && [ -e /etc/debian_version ] && has apt-get || return 1
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium </dev/null; }

[ -n "${MINIVAULT_TEST_SMOLLM2:-}" ] || skip "SmolLM2 can't be had (MINIVAULT_TEST_SMOLLM2)"
if [ -z "$(browser)" ] && may_use_apt; then
    echo "test-page: installing chromium by apt" >&2
    { apt_install || { as_root apt-get update -qq && apt_install; }; } >"$folder/apt.log" 2>&1 || tail -n 3 "$folder/apt.log" >&2
fi
[ -n "$(browser)" ] || skip "there is no Chromium on the PATH (as root: apt-get install chromium)"

wanted=daemon/web/tests/requirements.txt
if ! cmp -s "$wanted" "$folder/venv/installed"; then
    echo "test-page: installing playwright by pip into $folder/venv" >&2
    { python3 -m venv "$folder/venv" && "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted"; } \
        </dev/null >"$folder/pip.log" 2>&1 || {
        tail -n 3 "$folder/pip.log" >&2
        skip "playwright can't be installed (all that pip said is in $folder/pip.log)"
    }
    cp "$wanted" "$folder/venv/installed"
fi

MINIVAULTD=$(realpath "$minivaultd") MINIVAULT_TEST_CHROMIUM=$(browser) PYTHONDONTWRITEBYTECODE=1
export MINIVAULTD MINIVAULT_TEST_CHROMIUM PYTHONDONTWRITEBYTECODE
exec "$python" -m pytest -p no:cacheprovider -q daemon/web/tests "$@"
