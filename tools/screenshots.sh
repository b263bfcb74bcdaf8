#!/bin/sh
# Takes the pictures of the README: screenshots.sh MINIVAULTD MINIVAULT [NAME...].
#
# The page in a real browser and the client on a real terminal, both at a daemon with SmolLM2, and with tarotble beside it where
# MINIVAULT_TEST_TAROTBLE names its folder. They come into docs/images; on a busy machine the numbers in them are lower.
set -eu
cd "$(dirname "$0")/.."
. tools/browser.sh
give_up() {
    echo "screenshots: $*" >&2
    exit 1
}
[ -n "${MINIVAULT_TEST_SMOLLM2:-}" ] || give_up "SmolLM2 can't be had (MINIVAULT_TEST_SMOLLM2)"
provide_browser screenshots daemon/web/tests/requirements.txt tools/screenshots/requirements.txt || give_up "$lacking"
minivaultd=$(realpath "$1")
minivault=$(realpath "$2")
shift 2
PYTHONDONTWRITEBYTECODE=1 exec "$python" tools/screenshots/take.py \
    --minivaultd "$minivaultd" --minivault "$minivault" --chromium "$browser" --folder docs/images "$@"
