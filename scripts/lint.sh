#!/usr/bin/env bash
# Formatting, vet, staticcheck, errorlint, sloglint and shellcheck: all green or exit 1.
set -euo pipefail
cd "$(dirname "$0")/.."

tool() { go tool -modfile=tools/go.mod "$@"; }

mapfile -t files < <(git ls-files '*.go' ':!*.pb.go') # generated files stay as they were made
unformatted=$(tool gofumpt -l "${files[@]}")
if [ -n "$unformatted" ]; then
	echo "lint: not gofumpt-formatted (run: make fmt):" >&2
	echo "$unformatted" >&2
	exit 1
fi
go vet -tags foreign,vm ./...
tool staticcheck ./...
tool staticcheck -tags foreign,vm ./...
tool go-errorlint ./...
tool sloglint -static-msg -msg-style=lowercased -key-naming-case=snake -no-global=all ./...
if git grep -nE '//nolint|//lint:ignore' -- '*.go' ':!internal/layout'; then
	echo "lint: no linter is silenced in this tree" >&2
	exit 1
fi
scripts/need.sh shellcheck
mapfile -t shells < <(git ls-files '*.sh' .ci/run)
shellcheck "${shells[@]}"
echo "lint: clean"
