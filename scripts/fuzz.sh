#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each.
#
#   scripts/fuzz.sh [TIME]    TIME: default 5s
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s} n=0

while IFS=: read -r file target; do
	go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" |
		grep -vE '^fuzz: elapsed|^ok |^PASS$' || true
	[ "${PIPESTATUS[0]}" = 0 ] || { echo "fuzz: $target in $file failed" >&2; exit 1; }
	n=$((n + 1))
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
echo "fuzz: $n targets, $time each, nothing found"
