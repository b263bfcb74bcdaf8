#!/bin/sh
# Tests the page with a real browser: test-page.sh MINIVAULTD [PYTEST ARGUMENT...].
#
# Where Chromium or Playwright can't be had (tools/browser.sh) it says why and skips; that is no failure.
set -eu
cd "$(dirname "$0")/.."
. tools/browser.sh
minivaultd=$1
shift

skip() {
    echo "skipped: the page's tests: $*"
    exit 0
}
[ -n "${MINIVAULT_TEST_SMOLLM2:-}" ] || skip "SmolLM2 can't be had (MINIVAULT_TEST_SMOLLM2)"
provide_browser test-page daemon/web/tests/requirements.txt || skip "$lacking"

MINIVAULTD=$(realpath "$minivaultd") MINIVAULT_TEST_CHROMIUM=$browser PYTHONDONTWRITEBYTECODE=1
export MINIVAULTD MINIVAULT_TEST_CHROMIUM PYTHONDONTWRITEBYTECODE
exec "$python" -m pytest -p no:cacheprovider -q daemon/web/tests "$@"
