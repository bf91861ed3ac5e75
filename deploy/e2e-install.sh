#!/bin/sh
# Install the real servers of the end-to-end tests from Debian, where they are
# missing. They are started by the tests themselves, on loopback, as ordinary
# processes.
set -eu
missing=''
command -v prometheus >/dev/null || missing="$missing prometheus"
command -v prometheus-alertmanager >/dev/null || missing="$missing prometheus-alertmanager"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v chromium >/dev/null || missing="$missing chromium"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "as root: apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
