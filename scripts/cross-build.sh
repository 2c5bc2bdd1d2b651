#!/usr/bin/env bash
# Builds edgeagent for every board, and receiver for servers: static, stripped,
# without paths, stamped with the source's version. Two runs give the same bytes.
#
#   scripts/cross-build.sh [--check] [DIR]    DIR: default dist
#
# --check builds everything twice and fails when a byte differs, or when a
# binary is dynamic or the armv7 edgeagent is over its size.
#
# Environment:
#   AGAIN   names of the binaries that --check builds twice (default all of them)
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

# all DIR [NAME…] builds the named binaries, or all.
all() {
	local dir=$1 row name
	shift
	mkdir -p "$dir"
	for row in 'arm 6 edgeagent armv6' 'arm 7 edgeagent armv7' 'arm64 - edgeagent arm64' 'amd64 - edgeagent amd64' \
		'arm64 - receiver arm64' 'amd64 - receiver amd64'; do
		read -r arch arm command board <<<"$row"
		name=$command-linux-$board
		[ $# -gt 0 ] && [[ " $* " != *" $name "* ]] && continue
		build "$arch" "${arm#-}" "$command" "$dir/$name"
	done
}

all "$dist"
(cd "$dist" && sha256sum edgeagent-linux-* receiver-linux-* >SHA256SUMS)
ls -l "$dist"

if [ $check = 1 ]; then
	again=$(mktemp -d)
	trap 'rm -rf "$again"' EXIT
	read -ra names <<<"${AGAIN:-}"
	GOCACHE=$again/cache all "$again/dist" ${names[@]+"${names[@]}"}
	built=$(cd "$again/dist" && echo *)
	for name in ${names[@]+"${names[@]}"}; do
		[[ " $built " == *" $name "* ]] || { echo "cross-build: AGAIN names $name, which is none of the binaries" >&2; exit 1; }
	done
	for name in $built; do
		cmp "$dist/$name" "$again/dist/$name" || { echo "cross-build: $name differs between two builds" >&2; exit 1; }
	done
	for f in "$dist"/edgeagent-* "$dist"/receiver-*; do
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
	echo "cross-build: the same bytes twice ($built), static, armv7 edgeagent $size bytes"
fi
