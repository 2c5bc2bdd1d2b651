#!/usr/bin/env bash
# Prints the version of the source: the tag or commit, "+" when files changed.
set -euo pipefail
cd "$(dirname "$0")/.."
git describe --tags --always --dirty=+ 2>/dev/null || echo dev
