#!/usr/bin/env bash
# Makes sure that commands are there, installing Debian packages as root if not.
#
#   scripts/need.sh COMMAND[=PACKAGE] …
set -euo pipefail

missing=()
for want in "$@"; do
	cmd=${want%%=*} pkg=${want##*=}
	command -v "$cmd" >/dev/null || missing+=("$pkg")
done
[ ${#missing[@]} = 0 ] && exit 0

if [ "$(id -u)" != 0 ]; then
	echo "need: please install: ${missing[*]} (apt-get install ${missing[*]})" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "need: installing ${missing[*]}" >&2
apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
	{ apt-get -qq update >/dev/null && apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null; }
