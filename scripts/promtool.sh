#!/usr/bin/env bash
# Prints the path of Prometheus' promtool: the system's, or one unpacked from Debian's
# package into .cache. The package is not installed: it would start a server.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v promtool; then
	exit 0
fi
dir=$PWD/.cache/promtool
if [ ! -x "$dir/usr/bin/promtool" ]; then
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	(cd "$new" && { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; }) >/dev/null 2>&1 ||
		{ echo "promtool: please install it (Debian: apt-get install prometheus)" >&2; exit 1; }
	dpkg -x "$new"/prometheus_*.deb "$new/root"
	mkdir -p "$(dirname "$dir")"
	rm -rf "$dir"
	mv "$new/root" "$dir"
fi
echo "$dir/usr/bin/promtool"
