# What scripts that install packages have in common; to be sourced: . tools/apt.sh
# shellcheck shell=sh

has() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Debian and its kin, as root or with a sudo that asks for no password, unless MINIVAULT_SETUP=pip forbids it.
may_use_apt() {
    [ "${MINIVAULT_SETUP:-}" != pip ] && [ -e /etc/debian_version ] && has apt-get || return 1
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}

# apt_install LOG PACKAGE...: by the lists of packages that are there, and by new ones where those are too old.
apt_install() {
    apt_log=$1
    shift
    apt_install_once "$@" >"$apt_log" 2>&1 || { as_root apt-get update -qq </dev/null && apt_install_once "$@"; } >>"$apt_log" 2>&1
}
apt_install_once() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null; }
