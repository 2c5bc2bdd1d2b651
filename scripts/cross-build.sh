#!/usr/bin/env bash
# Builds edgeagent for every board, and receiver for servers: static, stripped,
# without paths, stamped with the source's version. Two runs give the same bytes.
#
#   scripts/cross-build.sh [--check] [DIR]    DIR: default dist
#
# --check builds everything twice and fails when a byte differs, or when a
# binary is dynamic or the armv7 edgeagent is over its size.
set -euo pipefail
cd "$(dirname "$0")/.."

check=0
[ "${1:-}" = --check ] && { check=1; shift; }
dist=${1:-dist}
max_armv7=$((14 * 1024 * 1024)) # the smallest boards keep two images in 64 MB of flash

version=$(scripts/version.sh)

# build ARCH GOARM COMMAND OUT
build() {
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 GOARM=$2 GOAMD64=v1 GOFLAGS='' go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X telemetry/internal/version.stamp=$version" -o "$4" "./cmd/$3"
}

all() {
	mkdir -p "$1"
	build arm 6 edgeagent "$1/edgeagent-linux-armv6"
	build arm 7 edgeagent "$1/edgeagent-linux-armv7"
	build arm64 "" edgeagent "$1/edgeagent-linux-arm64"
	build amd64 "" edgeagent "$1/edgeagent-linux-amd64"
	build arm64 "" receiver "$1/receiver-linux-arm64"
	build amd64 "" receiver "$1/receiver-linux-amd64"
}

all "$dist"
(cd "$dist" && sha256sum edgeagent-linux-* receiver-linux-* >SHA256SUMS)
ls -l "$dist"

if [ $check = 1 ]; then
	again=$(mktemp -d)
	trap 'rm -rf "$again"' EXIT
	GOCACHE=$again/cache all "$again/dist"
	for f in "$dist"/edgeagent-* "$dist"/receiver-*; do
		cmp "$f" "$again/dist/$(basename "$f")" || { echo "cross-build: $f differs between two builds" >&2; exit 1; }
		if file "$f" 2>/dev/null | grep -q 'dynamically linked'; then
			echo "cross-build: $f is not static" >&2
			exit 1
		fi
	done
	size=$(stat -c %s "$dist/edgeagent-linux-armv7")
	if [ "$size" -gt $max_armv7 ]; then
		echo "cross-build: edgeagent-linux-armv7 has $size bytes (limit $max_armv7)" >&2
		exit 1
	fi
	echo "cross-build: same bytes twice, static, armv7 edgeagent $size bytes"
fi
