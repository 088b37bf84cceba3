#!/bin/sh
# Installs one Debian package, or says how. Usage: sh deploy/system_package.sh PACKAGE
set -eu
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    printf 'csro set-up: installing %s\n' "$1" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
else
    printf 'csro set-up: please install %s (apt-get install %s)\n' "$1" "$1" >&2
    exit 1
fi
