#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each.
#
#   scripts/fuzz.sh [TIME]    TIME: default 5s
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s} n=0
said=$(mktemp)
trap 'rm -f "$said"' EXIT

while IFS=: read -r file target; do
	if ! go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" >"$said" 2>&1; then
		# The go command sometimes takes its own time limit for a failure of a slow
		# input; a real one names the input.
		if grep -q 'context deadline exceeded' "$said" && ! grep -q 'Failing input' "$said"; then
			n=$((n + 1))
			continue
		fi
		cat "$said" >&2
		echo "fuzz: $target in $file failed" >&2
		exit 1
	fi
	n=$((n + 1))
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
echo "fuzz: $n targets, $time each, nothing found"
