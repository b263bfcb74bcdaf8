#!/bin/sh
# Prints config.toml as a service has it, which may write into /var/lib/minivault alone: service-config.sh [ADDRESS]
# ADDRESS is where it listens, if not where config.toml says.
set -eu
cd "$(dirname "$0")/.."
address=${1:-127.0.0.1:8000}
sed -e 's|^path = "logs/log.jsonl"$|path = "/var/lib/minivault/logs/log.jsonl"|' \
    -e "s|^listen = \"127.0.0.1:8000\"\$|listen = \"$address\"|" config.toml |
    awk -v listen="listen = \"$address\"" '
        { print }
        /^path = "\/var\/lib\/minivault\// { found++ }
        $0 == listen { found++ }
        END { if (found != 2) { print "service-config: config.toml has no such log.path or server.listen any more" >"/dev/stderr"; exit 1 } }'
