#!/usr/bin/env bash
# Runs the tests that want a kernel with CAN, each package in a machine of its
# own. VM_SECONDS says how long the long test lasts (default 60).
#
#   scripts/vm-test.sh [ARGUMENTS OF THE TEST BINARIES]
set -euo pipefail
cd "$(dirname "$0")/.."

image=$(scripts/vm-image.sh)
out=.cache/vm/test
mkdir -p "$out"
CGO_ENABLED=0 go build -o "$out/lab" ./cmd/lab

echo "vm: the runner itself" >&2
VM_IMAGE=$image go test -count=1 ./lab/vm

package=sensors/can/socketcan
binary=$PWD/$out/$(basename "$package").test
CGO_ENABLED=0 go test -c -tags vm -o "$binary" "./$package"
"$out/lab" vm --image "$image" --share . --dir "$package" --timeout 10m --env "VM_SECONDS=${VM_SECONDS:-60}" \
	-- "$binary" -test.v -test.run '^Test' "$@" | { grep --line-buffered -vE "^=== " || true; }
