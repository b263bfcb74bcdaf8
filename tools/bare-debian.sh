#!/bin/sh
# Makes a bare Debian to try things in: bare-debian.sh CODENAME FOLDER. One that is there stays as it is. Needs root and debootstrap.
set -eu
[ -e "$2/etc/debian_version" ] || debootstrap --variant=minbase "$1" "$2" >&2
