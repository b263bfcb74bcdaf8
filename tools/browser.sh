# A real browser and what drives it, for scripts that are run in the repository's folder; to be sourced: . tools/browser.sh
#
# The browser is the system's Chromium, which Debian and its kin install as a package where this script may use apt. Playwright comes by
# pip into target/web.
# shellcheck shell=sh

. tools/apt.sh
web=target/web
python=$web/venv/bin/python

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }

# provide_browser NAME REQUIREMENTS...: sets `browser` to Chromium's path and installs files of requirements for `python`. Where something
# can't be had it fails, and `lacking` says what. NAME is who says what is being installed.
provide_browser() {
    name=$1
    shift
    mkdir -p "$web"
    if [ -z "$(find_browser)" ] && may_use_apt; then
        echo "$name: installing chromium by apt" >&2
        apt_install "$web/apt.log" chromium || tail -n 3 "$web/apt.log" >&2
    fi
    browser=$(find_browser)
    [ -n "$browser" ] || {
        lacking="there is no Chromium on the PATH (as root: apt-get install chromium)"
        return 1
    }
    for wanted; do
        installed=$web/venv/$(echo "$wanted" | tr / -)
        cmp -s "$wanted" "$installed" && continue
        echo "$name: installing what $wanted names by pip into $web/venv" >&2
        { python3 -m venv "$web/venv" && "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted"; } \
            </dev/null >"$web/pip.log" 2>&1 || {
            tail -n 3 "$web/pip.log" >&2
            lacking="what $wanted names can't be installed (all that pip said is in $web/pip.log)"
            return 1
        }
        cp "$wanted" "$installed"
    done
}
