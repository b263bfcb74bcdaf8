#!/bin/sh
# Tries the Debian package where nothing else is: try-package.sh PACKAGE MODEL [FOLDER]
#
# Makes a bare Debian in FOLDER (debootstrap; one that is there is used again), installs the package in it, has a user without rights serve MODEL,
# a GGUF file, asks for an answer, and stops the daemon. Needs root. Ends with 0 where all of that worked.
set -eu
package=$(realpath "$1")
model=$(realpath "$2")
folder=${3:-/var/tmp/minivault-bookworm}
"$(dirname "$0")/bare-debian.sh" bookworm "$folder"
cp "$package" "$folder/tmp/minivault.deb"
cp "$model" "$folder/opt/model.gguf"
mount -t proc proc "$folder/proc"
trap 'umount "$folder/proc"' EXIT
cat >"$folder/tmp/try.sh" <<'INSIDE'
set -eu
address=127.0.0.1:18155
export MINIVAULTD_ENGINES__SMOLLM2__BACKEND=llama-cpp MINIVAULTD_ENGINES__SMOLLM2__MODEL=/opt/model.gguf MINIVAULT_URL=http://$address
apt-get -qq update
apt-get -qq install -y --no-install-recommends /tmp/minivault.deb
id minivault 2>/dev/null || useradd --system --create-home --home-dir /var/lib/minivault minivault
set -- minivaultd --config /etc/minivault/config.toml --engine smollm2 --listen $address
cd /var/lib/minivault
as="setpriv --reuid minivault --regid minivault --clear-groups"
$as "$@" doctor
$as "$@" 2>/tmp/said &
daemon=$!
for _ in $(seq 60); do
    grep -q Ready /tmp/said && break
    sleep 1
done
minivault status
minivault generate --temperature 0 --max-tokens 8 "The capital of France is" | tee /tmp/answer
echo
grep -q Paris /tmp/answer
kill -TERM $daemon
wait $daemon
cat /tmp/said
grep -q "1 interactions were logged" /tmp/said
minivault logs verify --dir /var/lib/minivault/logs
apt-get -qq purge -y minivault
! command -v minivaultd
echo "the package installs, serves, stops and goes"
INSIDE
chroot "$folder" /bin/sh /tmp/try.sh
